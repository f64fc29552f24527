import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { isPeerId, PEER_ROLES } from '../peers/peers.js';
import { BrokerError } from '../tokens/errors.js';
import { parseUrl } from '../tokens/http.js';
import { redactText } from '../tokens/redaction.js';
import type { CommandContext } from './command.js';
import type { RotateOptions } from './rotate.js';
import type {
  AddPeerOptions,
  GrantPeerOptions,
  RotateSecretOptions,
  SetCredentialsOptions,
} from './secret-commands.js';
import { tooManyOpenFiles } from './start-errors.js';
import type { StatusOptions } from './status.js';
import type { RekeyCommandOptions, RestoreCommandOptions } from './store-commands.js';
import type { VerifyAuditOptions } from './verify-audit.js';
import { processOutput, show, type Output } from '../composition/terminal.js';

// Commands load what they need when they run: "--help" loads no configuration, and "status" no Nest.

/** A command's work. False means that it ran, and found something bad. */
type Action = (context: CommandContext) => Promise<boolean | void>;

type Run = (action: Action) => Promise<void>;

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
  surviveClosedPipes();
  const run: Run = async (action) => {
    const output = processOutput(program.opts<{ json?: boolean }>().json === true);
    try {
      if ((await action({ env: process.env, output })) === false) exitCode = 1;
    } catch (error) {
      showError(output, error);
      exitCode = 1;
    } finally {
      // An unanswered request must not hold the process up.
      setTimeout(() => process.exit(), 1_000).unref();
    }
  };
  const runServer: Run = async (action) => {
    await run(action);
    // Neither must a reader of standard output that hangs, nor a connection to a store that does.
    if (exitCode === 0) process.exit(0);
  };
  const settings = argv.includes('serve')
    ? (await import('../config/reference.js')).configReferenceText()
    : '';
  const program = createProgram(run, runServer, settings);

  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    if (asksForJson(argv)) showUsageError(error);
    return 2;
  }
}

/**
 * Every command, with its arguments and options. A wrong call throws a `CommanderError`.
 *
 * @param run does a command's work.
 * @param runServer does the work of a command that runs until it is stopped.
 * @param settings for the help of `serve`.
 */
export function createProgram(run: Run, runServer: Run, settings = ''): Command {
  const program = new Command('service-token-broker')
    .description(
      'Mints, keeps, rotates and serves the service token that services call each other with.',
    )
    .version(packageVersion())
    .option('--json', 'write JSON, for programs')
    .addHelpText('after', ENVIRONMENT)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(add --help for what is allowed)')
    .exitOverride();
  addServers(program, runServer, settings);
  addRotation(program, run);
  addExamination(program, run);
  addSecrets(program, run);
  addStore(program, run);
  return program;
}

function addServers(program: Command, run: Run, settings: string): void {
  program
    .command('serve')
    .description('run the broker: serve the service token to peers, and rotate it on schedule')
    .addHelpText('after', `\nConfiguration:\n${settings}`)
    .action(() => run(async (context) => (await import('./serve.js')).serveCommand(context)));
  program
    .command('dev')
    .description('run the broker with an embedded store and provider: for development only')
    .option(
      '--print-credentials',
      'instead, print the embedded provider\'s client, a secret, as "credentials set" reads it',
    )
    .action(({ printCredentials }: { printCredentials?: boolean }) =>
      run(async ({ env, output }) => {
        const { printDevCredentials, runDevMode } = await import('../dev/dev-mode.js');
        if (printCredentials === true) return printDevCredentials(env, output);
        if (!output.json) return runDevMode(env, output.out, output.paint);
        // Programs find the log alone on standard output, one object a line.
        return runDevMode({ ...env, BROKER_LOG_FORMAT: 'json' }, output.err, output.paintError);
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
      'rotate even when the token was minted a moment ago; with --repair: clear it even if a rotation may still be working on it',
    )
    .addOption(
      new Option(
        '--revoke-cached',
        'rotate in any case, and withdraw the token before: no broker that has read the new one serves it',
      ).conflicts(['dryRun', 'repair', 'all']),
    )
    .addOption(tokenOption())
    .addOption(
      new Option('--all', 'rotate every token, one after another').conflicts([
        'token',
        'dryRun',
        'repair',
      ]),
    )
    .action((options: RotateOptions) => {
      if (options.force === true && options.dryRun === true) {
        rotate.error("error: option '--force' does not go with '--dry-run'");
      }
      return run(async (context) => (await import('./rotate.js')).rotateCommand(context, options));
    });
  program
    .command('status')
    .description(
      'what is served, for how long, and what comes next; fails when nothing can be served',
    )
    .option(
      '--url <url>',
      'a running broker to ask as well (default: this machine, at BROKER_MANAGEMENT_PORT or PORT)',
      readBrokerUrl,
    )
    .option('--show-token', 'print the service token, which is a secret')
    .addOption(tokenOption('every one, as a table'))
    .action((options: StatusOptions) =>
      run(async (context) => (await import('./status.js')).statusCommand(context, options)),
    );
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
    .addOption(tokenOption("the one that the token's issuer and audience fit"))
    .action((token: string | undefined, options: { token?: string }) =>
      run(async (context) =>
        (await import('./verify.js')).verifyCommand(context, token, options.token),
      ),
    );
  program
    .command('audit')
    .description('examine what BROKER_AUDIT has written')
    .command('verify')
    .description('find lines that were removed, changed, moved or added; fails when there are any')
    .argument('<files...>', 'in the order in which they were written')
    .option(
      '--after <sha256>',
      'the digest of the line before, when the files before are elsewhere',
      readDigest,
    )
    .option(
      '--head <sha256>',
      'the digest that the last line must have, kept from an earlier verification',
      readDigest,
    )
    .action((files: readonly string[], options: VerifyAuditOptions) =>
      run(async (context) =>
        (await import('./verify-audit.js')).verifyAuditCommand(context, files, options),
      ),
    );
}

function readDigest(text: string): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be a SHA-256 digest: 64 characters of 0-9 and a-f.');
}

function addSecrets(program: Command, run: Run): void {
  const commands = () => import('./secret-commands.js');
  const peers = program.command('peers').description('who may ask for the service token');
  peers
    .command('add')
    .description('add a peer; its secret is written to a file, and kept nowhere else')
    .argument('<id>', 'letters, digits, ".", "_" and "-", at most 64', readPeerId)
    .addOption(
      new Option(
        '--role <role...>',
        'token (ask for the service token), admin (rotate it), introspect (have tokens introspected)',
      )
        .choices(PEER_ROLES)
        .default(['token']),
    )
    .option('--token <name...>', 'the tokens that it may have (default: "default")')
    .option('--secret-file <file>', 'where id and secret go (default: "<id>-peer.json")')
    .option('--show-secret', 'print the secret instead of writing a file')
    .action((id: string, options: AddPeerOptions) =>
      run(async (context) => (await commands()).addPeerCommand(context, id, options)),
    );
  const grant = peers
    .command('grant')
    .description(
      'give a peer other tokens or roles, instead of those it has; its secret stays as it is',
    )
    .argument('<id>')
    .addOption(new Option('--role <role...>', 'its roles').choices(PEER_ROLES))
    .option('--token <name...>', 'the tokens that it may have')
    .action((id: string, options: GrantPeerOptions) => {
      if (options.role === undefined && options.token === undefined) {
        grant.error("error: name what it may have, by '--token' or '--role'");
      }
      return run(async (context) => (await commands()).grantPeerCommand(context, id, options));
    });
  peers
    .command('rotate-secret')
    .description('give a peer a new secret; the old one works beside it for a time')
    .argument('<id>')
    .addOption(
      new Option('--overlap <span>', 'how long the old one works: 90s, 30m, 7d; 0 for no longer')
        .argParser(readSpan)
        .default(HOUR, '1h'),
    )
    .option('--secret-file <file>', 'where id and secret go (default: "<id>-peer-new.json")')
    .option('--show-secret', 'print the secret instead of writing a file')
    .action((id: string, options: RotateSecretOptions) =>
      run(async (context) => (await commands()).rotatePeerSecretCommand(context, id, options)),
    );
  peers
    .command('list')
    .description('list the peers')
    .action(() => run(async (context) => (await commands()).listPeersCommand(context)));
  peers
    .command('explain')
    .description(
      'how a peer proves who it is, what it was granted, and why it may have a token or not; fails when it may not',
    )
    .argument('<id>')
    .argument('[token]', 'the name of a token')
    .action((id: string, token?: string) =>
      run(async (context) => (await commands()).explainPeerCommand(context, id, token)),
    );
  peers
    .command('remove')
    .description('remove a peer; brokers refuse it once their cached list is refreshed')
    .argument('<id>')
    .action((id: string) =>
      run(async (context) => (await commands()).removePeerCommand(context, id)),
    );
  program
    .command('credentials')
    .description('the client credentials that the provider knows the broker by')
    .command('set')
    .description(
      'check and write the credentials secret: JSON with "client_id" and "client_secret"',
    )
    .option('--file <file>', 'where the JSON is; "-" is standard input', '-')
    .option(
      '--provider <name>',
      'whose: the name of a configured provider (default: the only one, or "default")',
    )
    .action((options: SetCredentialsOptions) =>
      run(async (context) => (await commands()).setCredentialsCommand(context, options)),
    );
}

function addStore(program: Command, run: Run): void {
  const commands = () => import('./store-commands.js');
  const keyFile = (): Option =>
    new Option('--key-file <file>', 'further master keys that may open the backup, one a line');
  const store = program.command('store').description('the embedded store: its key and its backups');
  store
    .command('status')
    .description('which master key it is under; fails when an exchange is not finished')
    .action(() => run(async (context) => (await commands()).storeStatusCommand(context)));
  store
    .command('rekey')
    .description('exchange the master key, while brokers run; run it again if it was interrupted')
    .option(
      '--new-key-file <file>',
      'the new key (default: the first of the ring, or a random one)',
    )
    .option('--leave-kms', 'move to the environment or to the key file, away from AWS KMS')
    .option('--keep-old-key', 'leave the old key in the key file')
    .action((options: RekeyCommandOptions) =>
      run(async (context) => (await commands()).rekeyCommand(context, options)),
    );
  store
    .command('backup')
    .description('write a checked copy, encrypted as the store is, while brokers run')
    .argument('<file>')
    .option('--force', 'replace the file if it exists')
    .action((file: string, options: { force?: boolean }) =>
      run(async (context) => (await commands()).backupCommand(context, file, options)),
    );
  store
    .command('restore')
    .description('check a backup, and put it in the place of what the store holds')
    .argument('<file>')
    .addOption(keyFile())
    .option('--from-other-store', 'even if it is the backup of another store')
    .action((file: string, options: RestoreCommandOptions) =>
      run(async (context) => (await commands()).restoreCommand(context, file, options)),
    );
  store
    .command('check')
    .description('open every version of the store, or of a backup; fails when one does not open')
    .argument('[file]', 'a backup')
    .addOption(keyFile())
    .action((file: string | undefined, options: RestoreCommandOptions) =>
      run(async (context) => (await commands()).checkCommand(context, file, options)),
    );
}

/** Which of several configured tokens a command is about. */
function tokenOption(instead = 'the only one, or "default"'): Option {
  return new Option('--token <name>', `the name of a configured token (default: ${instead})`);
}

/** The id of a peer that is to be added. @throws {InvalidArgumentError} */
function readPeerId(text: string): string {
  if (isPeerId(text)) return text;
  throw new InvalidArgumentError('Allowed are letters, digits, ".", "_" and "-", at most 64.');
}

const HOUR = 3_600_000;
const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: HOUR, d: 24 * HOUR };

/** A span in milliseconds. @throws {InvalidArgumentError} */
function readSpan(text: string): number {
  const [, amount = '', unit = 's'] = /^([0-9]{1,7})([smhd])$/.exec(text) ?? [];
  if (text === '0') return 0;
  if (amount !== '') return Number(amount) * (UNITS[unit] ?? 0);
  throw new InvalidArgumentError('It is a whole number of s, m, h or d, such as 30m, or 0.');
}

/** The URL of a broker. @throws {InvalidArgumentError} */
function readBrokerUrl(text: string): string {
  const url = parseUrl(text);
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return text;
  throw new InvalidArgumentError('It must be an http or https URL, such as http://127.0.0.1:3000.');
}

/** What writing fails with when the reader of a pipe, a terminal or a socket has left. */
const READER_LEFT: ReadonlySet<string> = new Set(['EPIPE', 'EIO', 'ECONNRESET']);

/** Keeps a command running, with its own exit code, when its output is no longer read, as with `| head`. */
function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (!READER_LEFT.has(error.code ?? '')) throw error;
    });
  }
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Shows why a command failed. An unexpected error is shown redacted, with its stack. */
function showError(output: Output, error: unknown): void {
  const { code, kind, message } = describeError(error);
  if (output.json) return show(output, { error: { code, kind, message } }, []);
  const more = kind === 'retry' ? '; trying again later may help' : '';
  output.err(`${message}\n${output.paintError('faint', `(${code}${more})`)}\n`);
}

function describeError(error: unknown): Pick<BrokerError, 'code' | 'kind' | 'message'> {
  if (error instanceof BrokerError) return error;
  const tooMany = tooManyOpenFiles(error);
  if (tooMany !== undefined) {
    return { code: 'TOO_MANY_OPEN_FILES', kind: 'misconfigured', message: tooMany };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'UNEXPECTED', kind: 'bug', message: redactText(message) };
}

/** Whether a call asks for JSON: read from its words, since a wrong call has no parsed options. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end === -1 ? argv : argv.slice(0, end)).includes('--json');
}

/** Reports a wrong call to programs; people find it on standard error already. */
function showUsageError({ code, message }: CommanderError): void {
  const words =
    code === 'commander.help' ? 'no command was given' : message.replace(/^error: /, '');
  show(processOutput(true), { error: { code: 'USAGE', kind: 'rejected', message: words } }, []);
}
