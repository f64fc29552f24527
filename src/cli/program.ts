import { InvalidArgumentError, CommanderError, Command, Option } from 'commander';
import { isPeerId, PEER_ROLES } from '../peers/peers.js';
import { parseUrl } from '../tokens/http.js';
import {
  type Output,
  readConfig,
  type CommandContext,
  processOutput,
  showError,
} from './command.js';
import { readFileSync } from 'node:fs';
import { configReferenceText } from '../config/reference.js';
import type { AddPeerOptions } from './secret-commands.js';

/** The id of a peer that is to be added. @throws {InvalidArgumentError} */
export function readPeerId(text: string): string {
  if (isPeerId(text)) return text;
  throw new InvalidArgumentError('Allowed are letters, digits, ".", "_" and "-", at most 64.');
}

/** The URL of a broker. @throws {InvalidArgumentError} */
export function readBrokerUrl(text: string): string {
  const url = parseUrl(text);
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return text;
  throw new InvalidArgumentError('It must be an http or https URL, such as http://127.0.0.1:3000.');
}

/** Of a pipe, a terminal, and a socket. */
const READER_IS_GONE: ReadonlySet<string> = new Set(['EPIPE', 'EIO', 'ECONNRESET']);

/**
 * Lets a command go on when nobody reads what it writes any more, as with `| head`: what it does is done, and its exit
 * code stays its own. Without this the process would end with an exception.
 */
export function outliveClosedPipes(
  streams: readonly NodeJS.WritableStream[] = [process.stdout, process.stderr],
): void {
  for (const stream of streams) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (!READER_IS_GONE.has(error.code ?? '')) throw error;
    });
  }
}

/** Whether a call asks for JSON. Read from the call itself, because one that is wrong may not have been understood. */
export function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
}

/** Tells programs of a wrong call; people were told already, on standard error. */
export function showUsageError(output: Output, { code, message }: CommanderError): void {
  if (!output.json) return;
  const words =
    code === 'commander.help' ? 'no command was given' : message.replace(/^error: /, '');
  const error = { code: 'USAGE', kind: 'rejected', message: words };
  output.out(`${JSON.stringify({ error }, null, 2)}\n`);
}

const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };

/** A command's work; false means that it did what it was asked, and what it found is bad. */
type Action = (context: CommandContext) => Promise<boolean | void>;

const ENVIRONMENT = `
Configuration comes from environment variables, and from the YAML file that BROKER_CONFIG names:
"service-token-broker serve --help" lists them all.

A command exits with 0 on success, 1 when it failed, 2 when it was called wrongly. With --json it writes
one JSON value to standard output, an error as {"error":{"code","kind","message"}}.`;

/**
 * Runs the command line.
 *
 * @param argv as `process.argv`.
 * @returns the exit code: 0 only on success.
 */
export async function runProgram(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  outliveClosedPipes();
  const program = new Command('service-token-broker');

  const run = async (action: Action): Promise<void> => {
    const output = processOutput(program.opts<{ json?: boolean }>().json === true);
    try {
      if ((await action({ env: process.env, output })) === false) exitCode = 1;
    } catch (error) {
      showError(output, error);
      exitCode = 1;
    } finally {
      exitSoon();
    }
  };

  program
    .description(
      'Mints, keeps, rotates and serves the service token that services call each other with.',
    )
    .version(version)
    .option('--json', 'write JSON, for programs')
    .addHelpText('after', ENVIRONMENT)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(add --help for what is allowed)')
    .exitOverride();
  const runServer: Run = async (action) => {
    await run(action);
    // A reader of standard output that hangs, or a connection to a store that does, must not keep the process.
    if (exitCode === 0) process.exit(0);
  };
  addServers(program, runServer);
  addRotation(program, run);
  addExamination(program, run);
  addPeers(program, run);

  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    showUsageError(processOutput(asksForJson(argv)), error);
    return 2;
  }
}

/** Ends the process a second after its command, although a request that nobody answers may still hold it up. */
function exitSoon(): void {
  setTimeout(() => process.exit(), 1_000).unref();
}

type Run = (action: Action) => Promise<void>;

function addServers(program: Command, runServer: Run): void {
  program
    .command('serve')
    .description('run the broker: serve the service token to peers, and rotate it on schedule')
    .addHelpText('after', () => `\nConfiguration:\n${configReferenceText()}`)
    .action(() =>
      runServer(async (context) => {
        const { runBroker } = await import('../composition/http-server.js');
        await runBroker(readConfig(context));
      }),
    );
  program
    .command('dev')
    .description('run the broker with an embedded store and provider: for development only')
    .action(() =>
      runServer(async ({ env, output }) => {
        const { runDevMode } = await import('../dev/dev-mode.js');
        if (!output.json) return runDevMode(env, output.out);
        /* For programs standard output is the log alone, an object a line. */ return runDevMode(
          { ...env, BROKER_LOG_FORMAT: 'json' },
          output.err,
        );
      }),
    );
}

function addRotation(program: Command, run: Run): void {
  const rotate = program
    .command('rotate')
    .description(
      'rotate the service token now, by the same path as the schedule; where Secrets Manager rotates it, ask for that',
    )
    .option('--dry-run', 'only say what would be done: writes nothing, and mints nothing')
    .addOption(
      new Option(
        '--repair',
        'instead, clear the pending version that a failed rotation left behind',
      ).conflicts('dryRun'),
    )
    .option(
      '--force',
      'rotate also when the token is of a moment ago; with --repair: clear it even if a rotation may still be working on it',
    )
    .action((options: RotateOptions) => {
      if (options.force === true && options.dryRun === true) {
        rotate.error("error: option '--force' does not go with '--dry-run'");
      }
      return run(async (context) => rotateAction(context, options));
    });
  program
    .command('status')
    .description(
      'what is served, for how long, and what comes next; fails when nothing can be served',
    )
    .option(
      '--url <url>',
      'where a broker runs that is asked as well (default: this machine, at BROKER_MANAGEMENT_PORT or PORT)',
      readBrokerUrl,
    )
    .option('--show-token', 'print the service token, which is a secret')
    .action((options: { url?: string; showToken?: boolean }) =>
      run(async (context) => (await import('./status.js')).statusCommand(context, options)),
    );
}

interface RotateOptions {
  readonly dryRun?: boolean;
  readonly repair?: boolean;
  readonly force?: boolean;
}

async function rotateAction(context: CommandContext, options: RotateOptions): Promise<void> {
  if (options.dryRun === true) return (await import('./rotate.js')).planCommand(context);
  if (options.repair === true) {
    return (await import('./rotate.js')).repairCommand(context, options.force === true);
  }
  return (await import('./rotate.js')).rotateCommand(context, options.force === true);
}

function addExamination(program: Command, run: Run): void {
  program
    .command('doctor')
    .description(
      'check everything that a rotation and a peer depend on, in order, and say what to do; fails when a check does',
    )
    .option('--mint', 'also mint a token on trial, which the provider counts; it is not kept')
    .action((options: { mint?: boolean }) =>
      run(async (context) => {
        const { doctorCommand } = await import('./doctor/doctor.js');
        return doctorCommand(context, options.mint === true);
      }),
    );
  program
    .command('verify')
    .description('explain what a token is, and why it is accepted or refused')
    .argument('[token]', 'the token; without it, or with "-", it is read from standard input')
    .action((token?: string) =>
      run(async (context) => (await import('./verify.js')).verifyCommand(context, token)),
    );
}

function addPeers(program: Command, run: Run): void {
  const peers = program.command('peers').description('who may ask for the service token');
  peers
    .command('add')
    .description('add a peer; its secret is written to a file, and kept nowhere else')
    .argument('<id>', 'letters, digits, ".", "_" and "-", at most 64', readPeerId)
    .addOption(
      new Option('--role <role...>', 'token (ask for the service token), admin (rotate it)')
        .choices(PEER_ROLES)
        .default(['token']),
    )
    .option('--secret-file <file>', 'where id and secret go (default: "<id>-peer.json")')
    .option('--show-secret', 'print the secret instead of writing a file')
    .action((id: string, options: AddPeerOptions) =>
      run(async (context) =>
        (await import('./secret-commands.js')).addPeerCommand(context, id, options),
      ),
    );
  peers
    .command('list')
    .description('list the peers')
    .action(() =>
      run(async (context) => (await import('./secret-commands.js')).listPeersCommand(context)),
    );
  peers
    .command('remove')
    .description('remove a peer; brokers refuse it once their cached list is refreshed')
    .argument('<id>')
    .action((id: string) =>
      run(async (context) => (await import('./secret-commands.js')).removePeerCommand(context, id)),
    );
  program
    .command('credentials')
    .description('the client credentials that the provider knows the broker by')
    .command('set')
    .description(
      'check and write the credentials secret: JSON with "client_id" and "client_secret"',
    )
    .option('--file <file>', 'where the JSON is; "-" is standard input', '-')
    .action((options: { file: string }) =>
      run(async (context) =>
        (await import('./secret-commands.js')).setCredentialsCommand(context, options),
      ),
    );
}
