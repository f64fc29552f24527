import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { checkSettings } from '../../src/config/check-settings.js';
import { ConfigError } from '../../src/config/config-error.js';
import { parseConfigFile } from '../../src/config/load-config.js';
import {
  CHAIN_START,
  nextLine,
  readLine,
  walkLine,
  type ChainWalk,
} from '../../src/operations/audit-chain.js';
import { hashPeerSecret, parsePeers, PeersError, serializePeers } from '../../src/peers/peers.js';
import { openEmbeddedStore } from '../../src/secrets/embedded/open-embedded-store.js';
import { backupStore, checkBackup } from '../../src/secrets/embedded/store-backup.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { decodeText, trimPasted } from '../../src/tokens/json.js';
import { require, type Parser } from './fuzzing.js';
import { CANARY } from './mutations.js';

const utf8 = (input: Buffer): string => input.toString('utf8');

const configuration: Parser = {
  name: 'configuration file (YAML)',
  seeds: [
    `issuer: https://login.example.test/
audience: https://api.example.test
rotation_cron: "0 3 * * *"
rotation_interval_hours: 24
port: 3000
kind_profile: auth0
master_key: ${CANARY}
`,
    `public_url: https://broker.example.test
trusted_issuers:
  cluster: { kind: kubernetes, issuer: https://kubernetes.default.svc, jwks_uri: https://k/jwks }
peers:
  settle:
    identities:
      - { issuer: cluster, subject: "system:serviceaccount:shop:settle" }
    tokens: [default]
`,
    `tokens:
  ledger: { secret_id: a/b, audience: https://ledger.example.test, provider: main }
providers:
  main: { issuer: https://login.example.test/, credentials_secret_id: c/d }
`,
    '{"issuer": "https://login.example.test/", "port": 3000, "peers": {"a": {"identities": [{"iam": "arn:aws:iam::123456789012:role/a"}], "roles": ["admin"]}}}',
  ],
  words: [
    'tokens',
    'peers',
    'providers',
    'trusted_issuers',
    '- ',
    ': ',
    '\n',
    '\n  ',
    '|',
    '>',
    '&a ',
    '*a',
    '<<: ',
    '!!binary ',
    '!!js/function ',
    '---\n',
    '? ',
    '%YAML 1.1\n',
    '#',
  ],
  refusesWith: [ConfigError],
  isSlow: true,
  run: (input) => {
    const text = decodeText(input);
    if (text === undefined) return 'no text';
    const file = parseConfigFile(text, 'broker.yaml');
    // The library by itself has no end to its levels, but that of the stack.
    const isRead = file.mistakes.every(({ name }) => name !== 'BROKER_CONFIG');
    const theirs = isRead
      ? parseDocument(text, { stringKeys: true, uniqueKeys: false })
      : undefined;
    require(!theirs?.errors.length, 'the library finds a mistake in what was read');
    // A key is shown, so that its typing error is found: a secret may have come to stand there.
    if (file.mistakes.some(({ given }) => given?.includes(CANARY.slice(4, 12)) === true))
      return 'a key';
    const config = checkSettings({ env: {}, file });
    require(!JSON.stringify(config).includes(CANARY), 'the configuration shows the master key');
    return `${config.tokens.length} tokens`;
  },
};

const digest = hashPeerSecret(CANARY).toString('base64url');
const peer = {
  secret_sha256: digest,
  roles: ['token', 'admin'],
  tokens: ['default'],
  enabled: true,
  created_at: '2026-11-29T00:00:00.000Z',
};

const peers: Parser = {
  name: 'peers secret',
  seeds: [
    JSON.stringify({
      peers: {
        ledger: peer,
        settle: {
          ...peer,
          previous_secret_sha256: digest,
          previous_secret_not_after: '2026-11-30T00:00:00Z',
        },
        [CANARY]: { roles: [] },
      },
    }),
    '{"peers":{}}',
  ],
  words: [
    'peers',
    'secret_sha256',
    'roles',
    'enabled',
    'tokens',
    'created_at',
    'previous_secret_not_after',
    digest,
  ],
  refusesWith: [PeersError],
  run: (input) => {
    const read = parsePeers(utf8(input));
    for (const { secretSha256, createdAt } of read.byId.values()) {
      require(secretSha256.length === 32 && Number.isFinite(createdAt), 'a peer without a digest');
    }
    for (const reason of read.malformed.values()) {
      require(!reason.includes(CANARY.slice(4, 14)), 'a reason shows a value');
    }
    const again = parsePeers(serializePeers(read));
    require(again.byId.size === read.byId.size, 'written again, it has other peers');
    return `${read.byId.size} ${[...read.malformed.values()].join()}`;
  },
};

const first = nextLine(CHAIN_START, { outcome: 'started' }, 0);
const second = nextLine(first.end, { outcome: 'served', peer: 'ledger', token: 'default' }, 1);
const third = nextLine(second.end, { outcome: 'stopped' }, 2);

const audit: Parser = {
  name: 'lines of the audit',
  seeds: [`${first.line}\n${second.line}\n${third.line}`],
  words: ['"seq":1', '"prev":', '0'.repeat(64), 'torn', '\n'],
  run: (input) => {
    let walk: ChainWalk = { end: CHAIN_START };
    const found: string[] = [];
    const given = input.toString('latin1').split('\n');
    for (const text of given) {
      const line = Buffer.from(text, 'latin1');
      walk = walkLine(walk, line);
      found.push(walk.fault ?? 'ok');
      const read = readLine(line);
      if (read !== undefined)
        require(JSON.stringify(JSON.parse(utf8(line))) === utf8(line), 'a line with a second form');
    }
    // Nobody can write other lines that end with the same digest.
    if (found.every((word) => word === 'ok') && walk.end.digest === third.end.digest)
      require(given.join() ===
        [first.line, second.line, third.line].join(), 'a changed line was taken');
    return [...new Set(found)].join();
  },
};

const pasted: Parser = {
  name: 'bytes of a pasted secret',
  seeds: [
    ` ${CANARY}\r\n`,
    Buffer.from(`\ufeff${CANARY}`, 'utf16le'),
    Buffer.from([0xfe, 0xff, 0, 0x61]),
  ],
  words: ['\ufeff', '\u200b', '\u2060', '\u00a0', '\u2003'],
  run: (input) => {
    const text = decodeText(input);
    if (text === undefined) return 'no text';
    const trimmed = trimPasted(text);
    require(trimPasted(trimmed) === trimmed, 'trimmed again, it changes');
    require(trimmed.length >= text.trim().length - 2_000 ||
      trimmed === '', 'more than the edges is gone');
    return text === trimmed ? 'same' : 'trimmed';
  },
};

/** The parser of backups, with one of a store that holds a secret. @param folder which the caller deletes. */
export async function backupParser(folder: string): Promise<Parser> {
  const dataDir = join(folder, 'data');
  const masterKeys = [Buffer.alloc(32, 7)] as const;
  const store = await openEmbeddedStore({ dataDir, masterKey: masterKeys[0] });
  await store.create('token', 'for the test');
  await store.putPending('token', 'v'.repeat(32), JSON.stringify({ access_token: CANARY }));
  await store.promote('token', 'v'.repeat(32), undefined);
  await store.close();
  const file = join(folder, 'backup');
  await backupStore({ dataDir, masterKeys, file });
  const place = join(folder, 'changed');
  return {
    name: 'backup of the embedded store',
    seeds: [readFileSync(file)],
    words: ['SQLite format 3\0', 'CREATE TABLE', 'version', 'AWSCURRENT'],
    refusesWith: [BrokerError],
    isSlow: true,
    run: async (input) => {
      writeFileSync(place, input);
      const { damaged, versions } = await checkBackup(place, { dataDir, masterKeys });
      return `${versions} ${damaged.length}`;
    },
  };
}

/** What is read of files and secrets that people write. */
export const FILE_PARSERS: readonly Parser[] = [configuration, peers, audit, pasted];
