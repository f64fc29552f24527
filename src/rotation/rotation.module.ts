import {
  Inject,
  Injectable,
  Module,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { ScheduleModule, SchedulerRegistry } from '@nestjs/schedule';
import { RotationSchedule } from './rotation-schedule.js';
import { Rotator } from './rotator.js';
import { TokenWatch } from './token-watch.js';

/** How the schedule runs in a Nest application. */
export interface RotationModuleOptions {
  /** Not given where this process runs no schedule; a running rotation still ends before the application goes. */
  readonly schedule?: RotationSchedule;
  readonly rotator: Rotator;
  /** Verifies the current token again and again, also where this process runs no schedule. */
  readonly watch?: TokenWatch;
  /**
   * Milliseconds between two checks; a slot is rotated, and a failed rotation retried, at most this long after its time.
   * Default: 1,000. A check reads nothing while nothing is due.
   */
  readonly checkInterval?: number;
}

/** How to come by the {@link RotationModuleOptions} when they depend on other providers. */
export interface RotationModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  readonly useFactory: FactoryProvider<RotationModuleOptions>['useFactory'];
  readonly inject?: FactoryProvider['inject'];
}

const OPTIONS = Symbol('RotationModuleOptions');
const CHECK = 'rotation check';

/** Starts the schedule with the application, and lets a running rotation end before the application goes. */
@Injectable()
export class RotationScheduleService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(
    @Inject(OPTIONS) private readonly options: RotationModuleOptions,
    @Inject(SchedulerRegistry) private readonly registry: SchedulerRegistry,
  ) {}

  /** Checks once at start, so that a slot missed while the broker was down is caught up. */
  onApplicationBootstrap(): void {
    const { schedule, watch, checkInterval = 1_000 } = this.options;
    if (schedule === undefined && watch === undefined) return;
    // Neither rejects: they tell their observers. Nothing that the watch waits for holds a rotation up.
    const check = (): void => {
      void schedule?.check();
      void watch?.check().then(() => schedule?.check());
    };
    this.registry.addInterval(CHECK, setInterval(check, checkInterval));
    check();
  }

  async beforeApplicationShutdown(): Promise<void> {
    if (this.registry.doesExist('interval', CHECK)) this.registry.deleteInterval(CHECK);
    this.options.watch?.stop();
    await this.options.rotator.stop();
  }
}

/** Wires the rotation schedule into Nest. */
@Module({})
export class RotationModule {
  static registerAsync(options: RotationModuleAsyncOptions): DynamicModule {
    const { useFactory, inject = [], imports = [] } = options;
    return {
      module: RotationModule,
      imports: [ScheduleModule.forRoot(), ...imports],
      providers: [{ provide: OPTIONS, useFactory, inject }, RotationScheduleService],
    };
  }
}
