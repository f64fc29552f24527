import type { IdentityTable } from './identities.js';
import type { WorkloadTokens } from './workload-tokens.js';

/** The peers of the configuration file, by each way in which they prove who they are. Replaced as a whole when the file changes. */
export interface FilePeers {
  /** `undefined` when no peer of the file has a workload token: then none is accepted. */
  readonly workloadTokens: WorkloadTokens | undefined;
  /** By names of certificates; absent when no peer of the file has one: then none is accepted. */
  readonly certificates?: IdentityTable | undefined;
}

/** Where the peers of the file are looked up for each request: what is current may change between two of them. */
export interface FilePeersSource {
  readonly current: FilePeers;
}

/** Without a configuration file, or without peers in it. */
export const NO_FILE_PEERS: FilePeersSource = { current: { workloadTokens: undefined } };
