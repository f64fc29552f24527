import type { ServingObserver } from '../serving/serving-observer.js';
import type { FunctionLog } from './function-log.js';

/** Tells the log of the HTTP function what peers ask for. Who asked is in the line of the request. */
export function httpObserver(
  log: FunctionLog,
  onPeer: (request: object, peerId: string) => void,
): ServingObserver {
  return {
    loggedIn: (peerId, source) => {
      if (source !== undefined) onPeer(source, peerId);
    },
    tokenUnavailable: (peer, error) =>
      log('warn', 'the service token could not be served', { err: error }, { peer }),
    loginFailed: (reason, _peer, remoteAddress) =>
      log('warn', 'a peer could not log in', {}, { reason, remoteAddress }),
    roleMissing: (peer, role) =>
      log('warn', 'a peer asked for what it has no role for', {}, { peer, role }),
    rotated: (peer, versionId, outcome) =>
      log('info', 'a peer rotated the service token', {}, { peer, versionId, outcome }),
    rotationFailed: (peer, error) =>
      log('warn', 'a rotation that a peer asked for failed', { err: error }, { peer }),
    failed: (error) => log('error', 'an unexpected error while answering', { err: error }),
  };
}
