import {
  Inject,
  Injectable,
  Module,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { RotationSchedule } from './rotation-schedule.js';
import { Rotator } from './rotator.js';

/** How the schedule runs in a Nest application. */
export interface RotationModuleOptions {
  readonly schedule: RotationSchedule;
  readonly rotator: Rotator;
  /**
   * Milliseconds between two checks; a slot is rotated at most this long after its start. Default: 15,000. A check
   * costs nothing while nothing is due.
   */
  readonly checkInterval?: number;
}

const OPTIONS = Symbol('RotationModuleOptions');

/** Starts the schedule with the application, and lets a running rotation end before the application goes. */
@Injectable()
export class RotationScheduleService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    @Inject(OPTIONS) private readonly options: RotationModuleOptions,
    @Inject(SchedulerRegistry) private readonly registry: SchedulerRegistry,
  ) {}

  /** Checks once at start, so that a slot missed while the broker was down is caught up. */
  onApplicationBootstrap(): void {
    const { schedule, checkInterval = 15_000 } = this.options;
    // `check` never rejects: it tells its observers.
    const check = (): void => void schedule.check();
    this.registry.addInterval('rotation check', setInterval(check, checkInterval));
    check();
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.registry.deleteInterval('rotation check');
    await this.options.rotator.idle();
  }
}

/** Wires the rotation schedule into Nest. */
@Module({})
export class RotationModule {
  static register(options: RotationModuleOptions): DynamicModule {
    return {
      module: RotationModule,
      imports: [ScheduleModule.forRoot()],
      providers: [{ provide: OPTIONS, useValue: options }, RotationScheduleService],
    };
  }
}
