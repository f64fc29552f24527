import { afterAll } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How an invocation ended. `died` when the environment was gone before it had answered. */
export type Outcome =
  | { readonly ended: 'answered'; readonly result: unknown }
  | { readonly ended: 'failed'; readonly errorType: string; readonly errorMessage: string }
  | { readonly ended: 'died' };

/** What an environment runs. */
export interface EnvironmentOptions {
  /** The runtime's program and its arguments. */
  readonly command: readonly [string, ...string[]];
  /** Where the bundle is. */
  readonly taskRoot: string;
  /** `rotation.handler` for the export `handler` of `rotation.mjs`. */
  readonly handler: string;
  /** Besides what Lambda itself sets. */
  readonly env: NodeJS.ProcessEnv;
}

interface Pending {
  readonly id: string;
  readonly event: unknown;
  readonly deadline: number;
  readonly end: (outcome: Outcome) => void;
}

const PREFIX = '/2018-06-01/runtime/';
const alive = new Set<ExecutionEnvironment>();

// Whatever a test does, its environments end with it.
afterAll(async () => {
  for (const environment of alive) await environment.close();
});

/**
 * An execution environment of a function: a process with a runtime in it, and the Runtime API that hands it invocations,
 * as AWS documents it. The process is started by the first invocation after it is gone, as Lambda does: a cold start.
 */
export class ExecutionEnvironment {
  /** Everything that the processes have written. */
  output = '';
  /** How many processes there were. */
  coldStarts = 0;
  readonly #options: EnvironmentOptions;
  readonly #server: Server;
  #process: ChildProcess | undefined;
  #pending: Pending | undefined;
  /** The runtime that waits for its next invocation. */
  #waiting: ServerResponse | undefined;

  private constructor(options: EnvironmentOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    server.on(
      'request',
      (request, response) => void this.#receive(request, response).catch(() => response.destroy()),
    );
  }

  /** Opens the Runtime API on a free port of 127.0.0.1. */
  static async open(options: EnvironmentOptions): Promise<ExecutionEnvironment> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const environment = new ExecutionEnvironment(options, server);
    alive.add(environment);
    return environment;
  }

  /** Invokes the function; one invocation at a time. @param timeout milliseconds that the function is told it has. */
  invoke(event: unknown, timeout = 60_000): Promise<Outcome> {
    if (this.#pending !== undefined) throw new Error('An environment takes one at a time.');
    return new Promise((resolve) => {
      this.#pending = {
        id: randomUUID(),
        event,
        deadline: Date.now() + timeout,
        end: (outcome) => {
          this.#pending = undefined;
          resolve(outcome);
        },
      };
      if (this.#process === undefined) this.#start();
      else this.#handOver();
    });
  }

  /** Ends the process in the middle of whatever it does, as Lambda does at a time-out. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  async close(): Promise<void> {
    alive.delete(this);
    await this.kill();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #start(): void {
    const { command, taskRoot, handler, env } = this.#options;
    const [program, ...args] = command;
    const { port } = this.#server.address() as AddressInfo;
    this.coldStarts += 1;
    const child = spawn(program, args, {
      cwd: taskRoot,
      env: {
        PATH: process.env['PATH'],
        AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
        AWS_LAMBDA_FUNCTION_NAME: 'service-token-broker',
        AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '256',
        AWS_LAMBDA_LOG_GROUP_NAME: '/aws/lambda/service-token-broker',
        AWS_LAMBDA_LOG_STREAM_NAME: 'interop',
        LAMBDA_TASK_ROOT: taskRoot,
        _HANDLER: handler,
        TZ: ':UTC',
        ...env,
      },
    });
    this.#process = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
    child.once('close', () => {
      this.#process = undefined;
      this.#waiting = undefined;
      this.#pending?.end({ ended: 'died' });
    });
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const path = (request.url ?? '').replace(PREFIX, '');
    if (path === 'invocation/next') {
      this.#waiting = response;
      this.#handOver();
      return;
    }
    const text = Buffer.concat(chunks).toString('utf8');
    const [, id, what] = /^invocation\/([^/]+)\/(response|error)$/.exec(path) ?? [];
    response.writeHead(202, { 'content-type': 'application/json' });
    response.end('{"status":"OK"}');
    if (path === 'init/error') this.output += `init/error ${text}\n`;
    if (this.#pending === undefined || id !== this.#pending.id) return;
    const body: unknown = text === '' ? null : JSON.parse(text);
    if (what === 'response') this.#pending.end({ ended: 'answered', result: body });
    else
      this.#pending.end({
        ended: 'failed',
        ...(body as { errorType: string; errorMessage: string }),
      });
  }

  /** Gives the invocation that is due to the runtime that waits for one. */
  #handOver(): void {
    if (this.#waiting === undefined || this.#pending === undefined) return;
    const { id, event, deadline } = this.#pending;
    this.#waiting.writeHead(200, {
      'content-type': 'application/json',
      'lambda-runtime-aws-request-id': id,
      'lambda-runtime-deadline-ms': String(deadline),
      'lambda-runtime-invoked-function-arn':
        'arn:aws:lambda:eu-central-1:123456789012:function:service-token-broker',
      'lambda-runtime-trace-id': 'Root=1-00000000-000000000000000000000000;Sampled=0',
    });
    this.#waiting.end(JSON.stringify(event));
    this.#waiting = undefined;
  }
}
