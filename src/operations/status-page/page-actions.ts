import { isPeerId, isTokenName } from '../../peers/peers.js';
import type { RotationBody } from '../../serving/answers.js';
import type { EndpointRequest, ServingObserver } from '../../serving/endpoint.js';
import { decide, type LoggedInPeer } from '../../serving/peer-login.js';
import { BrokerError, errorCode } from '../../tokens/errors.js';
import { redactText } from '../../tokens/redaction.js';
import type { Notice } from './page-shell.js';

/** What an admin can do. Each rejects with a BrokerError that says why not. */
export interface PageActions {
  /** `undefined` when this broker does not rotate it. Reports itself to the observer. */
  rotate(
    peer: LoggedInPeer,
    token: string,
    request: EndpointRequest,
  ): Promise<RotationBody | undefined>;
  /** Clears a pending version that a failed rotation left behind. `undefined` when there is no such token. */
  repair(
    token: string,
  ): Promise<{ readonly cleared: string | undefined; readonly reason: string } | undefined>;
  /** Of the list. The configuration file may have a peer of the same id, which logs in by other means and stays as it is. */
  setPeerEnabled(id: string, enabled: boolean): Promise<{ readonly isEnabledInFile: boolean }>;
}

/** Does what was asked for, and reports it to the observer. @returns how it went, for the next page. */
export async function performAction(
  action: Action,
  peer: LoggedInPeer,
  request: EndpointRequest,
  { actions, observer }: { readonly actions: PageActions; readonly observer: ServingObserver },
): Promise<Notice> {
  const { kind, name } = action;
  try {
    if (kind === 'rotate') {
      const rotated = await actions.rotate(peer, name, request);
      return rotated === undefined
        ? bad('Not rotated.', 'This broker has no such token, or does not rotate it.')
        : rotatedNotice(name, rotated);
    }
    if (kind === 'repair') {
      const repaired = await actions.repair(name);
      if (repaired === undefined) return bad('Not repaired.', 'There is no such token.');
      const { cleared, reason } = repaired;
      decide(
        observer,
        peer,
        {
          outcome: 'repaired',
          token: name,
          reason: cleared === undefined ? 'NOTHING_PENDING' : 'CLEARED',
          ...(cleared !== undefined && { versionId: cleared }),
        },
        request,
      );
      return cleared === undefined
        ? { tone: 'good', title: 'Nothing to repair.', words: `${name}: ${reason}.` }
        : { tone: 'good', title: 'Repaired.', words: `${name}: ${cleared} ${reason}.` };
    }
    if (name === peer.id) return bad('Not disabled.', 'You are signed in as this peer.');
    const enabled = kind === 'enable';
    const { isEnabledInFile } = await actions.setPeerEnabled(name, enabled);
    decide(
      observer,
      peer,
      { outcome: enabled ? 'peer_enabled' : 'peer_disabled', subject: name },
      request,
    );
    if (!enabled && isEnabledInFile) {
      const words = `${name} is refused with its secret from now on, but the configuration file has a peer of the same id, which is let in by its identity as before: set enabled: false there, too.`;
      return bad('Disabled in the list alone.', words);
    }
    return {
      tone: 'good',
      title: enabled ? 'Enabled.' : 'Disabled.',
      words: enabled
        ? `${name} may log in again with its secret. Other replicas follow within their cache’s time to live.`
        : `${name} is refused by this process from now on, and by other replicas within their cache’s time to live. A token that it has already stays valid until it expires.`,
    };
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
    // The rotation has reported itself.
    if (kind !== 'rotate') {
      const subject = kind === 'repair' ? { token: name } : { subject: name };
      const reason = errorCode(error);
      decide(observer, peer, { outcome: 'action_failed', reason, ...subject }, request);
    }
    return bad(`${TITLES[kind]} failed.`, `${redactText(error.message)} (${error.code})`);
  }
}

/** An action that is asked for. */
export interface Action {
  readonly kind: 'rotate' | 'repair' | 'disable' | 'enable';
  /** Of the token, or of the peer. */
  readonly name: string;
  readonly fields: Readonly<Record<string, string>>;
  /** What a form is bound to. */
  readonly what: readonly string[];
}

const TITLES = {
  rotate: 'Rotating',
  repair: 'Repairing',
  disable: 'Disabling',
  enable: 'Enabling',
} as const;

/** The action that a query or a form names. Pure. */
export function actionOf(valueOf: (name: string) => string | undefined): Action | undefined {
  const kind = valueOf('do');
  if (kind === 'rotate' || kind === 'repair') {
    const name = valueOf('token');
    if (!isTokenName(name)) return undefined;
    return { kind, name, fields: { do: kind, token: name }, what: [kind, name] };
  }
  if (kind === 'disable' || kind === 'enable') {
    const name = valueOf('peer');
    if (name === undefined || !isPeerId(name)) return undefined;
    return { kind, name, fields: { do: kind, peer: name }, what: [kind, name] };
  }
  return undefined;
}

/** The question before an action. */
interface Question {
  readonly title: string;
  readonly words: readonly string[];
  readonly button: string;
}

const QUESTIONS: Readonly<Record<Action['kind'], (name: string) => Question>> = {
  rotate: (name) => ({
    title: `Rotate the token ${name} now?`,
    words: [
      'The provider is asked for a new token, which is verified as receivers do, and then served. If anything fails, the token that is served now stays.',
      'Many providers bill each token, or limit how many they mint. The token before stays valid until it expires. Where Secrets Manager rotates, it is asked to.',
    ],
    button: 'Rotate now',
  }),
  repair: (name) => ({
    title: `Repair the rotation of ${name}?`,
    words: [
      'A version that a failed rotation has left pending is cleared, so that the next rotation can begin. The token that is served is not touched.',
      'If the version is younger than 15 minutes, a rotation may still run, and nothing is done. Only the command line does it by force: rotate --repair --force.',
    ],
    button: 'Repair',
  }),
  disable: (name) => ({
    title: `Disable the peer ${name}?`,
    words: [
      'Every login of this peer is refused from now on, with the right secret too. Its secret and its grants stay, so that it can be enabled again.',
      'A token that it has already stays valid until it expires: after a leak, rotate as well.',
    ],
    button: 'Disable',
  }),
  enable: (name) => ({
    title: `Enable the peer ${name}?`,
    words: ['It may log in again, with the secret and the grants that it had.'],
    button: 'Enable',
  }),
};

/** What is asked before. Pure. */
export function questionOf({ kind, name }: Action): Question {
  return QUESTIONS[kind](name);
}

const ROTATED: Readonly<Record<RotationBody['outcome'], string>> = {
  rotated: 'A new token is served from now on.',
  adopted: 'A token that another attempt had minted is served from now on.',
  'already-rotated': 'Another process has just rotated it.',
  joined: 'A rotation was running already, and has ended well.',
  recent: 'The token was minted a moment ago: no other was asked for.',
  requested: 'Secrets Manager was asked to rotate; the new token is served when it is done.',
};

function rotatedNotice(name: string, { outcome, version_id: versionId }: RotationBody): Notice {
  const title = outcome === 'requested' ? 'Requested.' : 'Rotated.';
  return {
    tone: 'good',
    title: outcome === 'recent' ? 'Nothing to do.' : title,
    words: `${name}: ${ROTATED[outcome]} Version ${versionId}.`,
  };
}

function bad(title: string, words: string): Notice {
  return { tone: 'bad', title, words };
}
