import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { parse } from 'yaml';
import { serveHttp, type RunningBroker } from '../../../src/composition/http-server.js';
import { createRuntime } from '../../../src/composition/runtime.js';
import { loadConfig } from '../../../src/config/load-config.js';
import { createLogger } from '../../../src/operations/log.js';
import { MemorySecretStore, type TestIssuer } from '../../../src/testing/index.js';

// Gateways that others wrote, with the configuration of docs/gateways.md, as it stands there.

/** What a gateway stands between. */
export interface Surroundings {
  /** An empty folder of its own. */
  readonly folder: string;
  /** Host and port of the service behind it. */
  readonly service: string;
  /** Host and port of the broker that it asks. */
  readonly broker: string;
  /** Changes the documented lines. Default: none. */
  readonly change?: (documented: string) => string;
}

/** A gateway that listens. */
export interface Gateway {
  readonly port: number;
  stop(): void;
}

/** How a gateway is started, and what it does. */
export interface GatewayKind {
  readonly name: string;
  readonly start: (surroundings: Surroundings) => Promise<Gateway>;
  /** The status of its answer when the broker does not answer. */
  readonly withoutBroker: number;
  /** Whether it passes the challenge of a 403 on. That of a 401 each does. */
  readonly passesChallenge: boolean;
}

/** A broker that gateways may ask about the tokens of an issuer. */
export async function startAskedBroker(
  { issuer, audience, jwksUri }: TestIssuer,
  settings: Readonly<Record<string, string>> = {},
): Promise<RunningBroker> {
  const config = loadConfig({
    env: {
      PORT: '0',
      HOST: '127.0.0.1',
      BROKER_ISSUER: issuer,
      BROKER_AUDIENCE: audience,
      BROKER_TOKEN_ENDPOINT: `${issuer}/token`,
      BROKER_JWKS_URI: jwksUri,
      BROKER_ROTATION: 'disabled',
      BROKER_AUTHORIZE: 'true',
      ...settings,
    },
  });
  const log = createLogger({ level: 'silent' });
  return serveHttp(await createRuntime(config, { store: new MemorySecretStore(), log }));
}

/** A port that nobody listens at. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The one block in a language below a heading of docs/gateways.md. */
async function documented(
  heading: string,
  language: string,
  { service, broker, change = (text) => text }: Surroundings,
): Promise<string> {
  const page = await readFile(new URL('../../../docs/gateways.md', import.meta.url), 'utf8');
  const [, section = ''] = page.split(`\n### ${heading}\n`);
  const [ownSection = ''] = section.split(/\n##+ /);
  const blocks = [...ownSection.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, 'gm'))];
  const [block] = blocks;
  if (block?.[1] === undefined || blocks.length > 1) {
    throw new Error(`docs/gateways.md needs one block in ${language} below "${heading}".`);
  }
  return change(block[1]).replaceAll('SERVICE', service).replaceAll('BROKER', broker);
}

/** Whether what listens at a port answers HTTP; Traefik has no route for the first moment. */
const answers = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}`).then(
    ({ status }) => status !== 404,
    () => false,
  );

/** Whether anything listens at a port. */
const listens = (port: number): Promise<boolean> => {
  const socket = connect(port, '127.0.0.1');
  return once(socket, 'connect')
    .then(
      () => true,
      () => false,
    )
    .finally(() => socket.destroy());
};

/** Starts a program, and waits until it is up. */
async function startListening(
  program: string,
  args: readonly string[],
  port: number,
  isUp: (port: number) => Promise<boolean> = answers,
): Promise<Gateway> {
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  let ended: Error | undefined;
  child.once('error', (error) => (ended = error));
  child.once('exit', (code) => (ended = new Error(`${program} ended with ${code}.`)));
  for (let attempt = 0; attempt < 600; attempt += 1) {
    if (ended !== undefined) throw ended;
    if (await isUp(port)) return { port, stop: () => child.kill() };
    await new Promise((resolve) => {
      setTimeout(resolve, 50);
    });
  }
  child.kill();
  throw new Error(`${program} did not start.`);
}

async function startNginx(program: string, surroundings: Surroundings): Promise<Gateway> {
  const { folder } = surroundings;
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const own = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const configuration = [
    'daemon off; master_process off; pid nginx.pid; error_log stderr crit;',
    'events {}',
    'http { access_log off;',
    ...own.map((one) => `${one}_temp_path ${join(folder, one)};`),
    `server { listen 127.0.0.1:${port};`,
    await documented('nginx', 'nginx', surroundings),
    '} }',
  ];
  await writeFile(join(folder, 'nginx.conf'), configuration.join('\n'));
  return startListening(program, ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], port);
}

/** A cluster of Envoy's with one endpoint. */
export function envoyCluster(name: string, address: string): object {
  const [host, port] = address.split(':');
  const endpoint = { address: { socket_address: { address: host, port_value: Number(port) } } };
  return {
    name,
    connect_timeout: '1s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
}

/** A listener of Envoy's. */
export interface EnvoyListener {
  /** Members of its HTTP connection manager. */
  readonly manager: object;
  readonly clusters: readonly object[];
  /** The cluster that every request goes to. */
  readonly to: string;
  /** Default: plain. */
  readonly transportSocket?: object;
}

/** Starts Envoy with one listener. */
export async function startEnvoyWith(
  program: string,
  folder: string,
  { manager, clusters, to, transportSocket }: EnvoyListener,
): Promise<Gateway> {
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const routes = [{ match: { prefix: '/' }, route: { cluster: to } }];
  const typed = {
    '@type':
      'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'in',
    route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes }] },
    ...manager,
  };
  const filters = [{ name: 'envoy.filters.network.http_connection_manager', typed_config: typed }];
  const listen = (at: number): object => ({
    socket_address: { address: '127.0.0.1', port_value: at },
  });
  const listeners = [
    {
      name: 'in',
      address: listen(port),
      filter_chains: [
        { filters, ...(transportSocket !== undefined && { transport_socket: transportSocket }) },
      ],
    },
  ];
  const path = join(folder, 'envoy.json');
  await writeFile(path, JSON.stringify({ static_resources: { listeners, clusters } }));
  const args = ['-c', path, '--disable-hot-restart', '--concurrency', '1', '-l', 'error'];
  return startListening(program, args, port, transportSocket === undefined ? answers : listens);
}

async function startEnvoy(program: string, surroundings: Surroundings): Promise<Gateway> {
  const manager = parse(await documented('Envoy', 'yaml', surroundings)) as object;
  const { folder, service, broker } = surroundings;
  const clusters = [envoyCluster('broker', broker), envoyCluster('service', service)];
  return startEnvoyWith(program, folder, { manager, clusters, to: 'service' });
}

async function startTraefik(program: string, surroundings: Surroundings): Promise<Gateway> {
  const { folder } = surroundings;
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const path = join(folder, 'traefik.yaml');
  await writeFile(path, await documented('Traefik', 'yaml', surroundings));
  const args = [
    `--entryPoints.in.address=127.0.0.1:${port}`,
    `--providers.file.filename=${path}`,
    '--global.checkNewVersion=false',
    '--log.level=ERROR',
  ];
  return startListening(program, args, port);
}

const KINDS: readonly (readonly [
  variable: string,
  start: (program: string, surroundings: Surroundings) => Promise<Gateway>,
  kind: Omit<GatewayKind, 'start'>,
])[] = [
  ['INTEROP_NGINX', startNginx, { name: 'nginx', withoutBroker: 500, passesChallenge: false }],
  ['INTEROP_ENVOY', startEnvoy, { name: 'Envoy', withoutBroker: 503, passesChallenge: true }],
  ['INTEROP_TRAEFIK', startTraefik, { name: 'Traefik', withoutBroker: 500, passesChallenge: true }],
];

/** The gateways that are here: run.sh names the program of each, or says that it is skipped. */
export const GATEWAYS: readonly GatewayKind[] = KINDS.flatMap(([variable, start, kind]) => {
  const program = process.env[variable];
  return program === undefined
    ? []
    : [{ ...kind, start: (surroundings) => start(program, surroundings) }];
});
