// Judges a changed configuration file in a thread of its own: thousands of peers take a second of YAML, which no peer
// should wait for.
import { parentPort, workerData } from 'node:worker_threads';
import { decideChange, type ChangedFile } from './config/config-change.js';

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- the port of a thread, which has none
parentPort?.postMessage(decideChange(workerData as ChangedFile));
