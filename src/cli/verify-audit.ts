import { open } from 'node:fs/promises';
import {
  CHAIN_START,
  walkLine,
  type ChainEnd,
  type ChainFault,
  type ChainWalk,
} from '../operations/audit-chain.js';
import { BrokerError } from '../tokens/errors.js';
import { systemCode } from '../tokens/http.js';
import { show, type Paint } from '../composition/terminal.js';
import type { CommandContext } from './command.js';

/** Options of `audit verify`. */
export interface VerifyAuditOptions {
  /** The digest of the line before the first one, in hexadecimal: of a file that is not there any more. */
  readonly after?: string;
  /** The digest that the last line must have. */
  readonly head?: string;
}

/** What is wrong, and where. */
interface FoundFault {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly fault: ChainFault | 'unended' | 'other_head';
}

/** What the files of an audit are. */
interface AuditReport {
  readonly whole: boolean;
  readonly lines: number;
  /** The number of the last line. */
  readonly seq: number;
  /** The digest of the last line. */
  readonly head: string;
  /** Lines that a killed process left half written, as the line after each says. */
  readonly tears: number;
  /** The first 100. */
  readonly faults: readonly FoundFault[];
}

const MOST_FAULTS = 100;
const LINE_BREAK = 0x0a;

/** `audit verify`: whether the files hold one whole chain. @returns true when they do. */
export async function verifyAuditCommand(
  { output }: CommandContext,
  files: readonly string[],
  options: VerifyAuditOptions,
): Promise<boolean> {
  const report = await verifyAudit(files, options);
  show(output, report, reportLines(report, output.paint));
  return report.whole;
}

/**
 * Walks through the files in their order, as one chain.
 *
 * @throws {BrokerError} `AUDIT_FILE_UNREADABLE`.
 */
export async function verifyAudit(
  files: readonly string[],
  { after, head }: VerifyAuditOptions = {},
): Promise<AuditReport> {
  const faults: FoundFault[] = [];
  let walk: ChainWalk = { end: { ...CHAIN_START, ...(after && { digest: after }) } };
  let [lines, tears, total] = [0, 0, 0];
  const report = (found: FoundFault): void => {
    total += 1;
    if (faults.length < MOST_FAULTS) faults.push(found);
  };
  let unread: FoundFault | undefined;
  let where = { file: files[0] ?? '', line: 0 };
  for (const file of files) {
    where = { file, line: 0 };
    for await (const { bytes, isEnded } of linesOf(file)) {
      where = { file, line: where.line + 1 };
      lines += 1;
      // The number before the first line is not known; its digest is.
      const isFirst = lines === 1 && after !== undefined;
      walk = walkLine(isFirst ? beforeFirst(walk.end, bytes) : walk, bytes);
      if (walk.isTear === true) {
        tears += 1;
        unread = undefined;
      }
      if (unread !== undefined) report(unread);
      unread = undefined;
      if (walk.fault === 'not_a_line' && isEnded) unread = { ...where, fault: walk.fault };
      else if (walk.fault !== undefined && isEnded) report({ ...where, fault: walk.fault });
      if (!isEnded) report({ ...where, fault: 'unended' });
    }
  }
  if (unread !== undefined) report(unread);
  if (head !== undefined && walk.end.digest !== head) report({ ...where, fault: 'other_head' });
  const { seq, digest } = walk.end;
  return { whole: total === 0 && lines > 0, lines, seq, head: digest, tears, faults };
}

/** As if the line before had the number that fits. */
function beforeFirst({ digest }: ChainEnd, bytes: Uint8Array): ChainWalk {
  const seq = Number(/"seq":([0-9]{1,15})[,}]/.exec(Buffer.from(bytes).toString('latin1'))?.[1]);
  return { end: { seq: Number.isInteger(seq) ? seq - 1 : 0, digest } };
}

interface FileLine {
  readonly bytes: Buffer;
  /** False for a last line without a line break. */
  readonly isEnded: boolean;
}

async function* linesOf(path: string): AsyncGenerator<FileLine> {
  const file = await open(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  try {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of file.createReadStream()) {
      let bytes: Buffer = Buffer.concat([rest, chunk as Buffer]);
      for (let at = bytes.indexOf(LINE_BREAK); at >= 0; at = bytes.indexOf(LINE_BREAK)) {
        yield { bytes: bytes.subarray(0, at), isEnded: true };
        bytes = bytes.subarray(at + 1);
      }
      rest = bytes;
    }
    if (rest.length > 0) yield { bytes: rest, isEnded: false };
  } catch (error) {
    throw unreadable(path, error);
  } finally {
    await file.close();
  }
}

function unreadable(path: string, cause: unknown): BrokerError {
  return new BrokerError(
    'AUDIT_FILE_UNREADABLE',
    'misconfigured',
    `"${path}" cannot be read (${systemCode(cause) ?? 'no code'}).`,
    { cause },
  );
}

const WORDS: Readonly<Record<FoundFault['fault'], string>> = {
  not_a_line: 'this is not a line as the broker wrote it',
  lines_missing: 'lines before this one were removed',
  out_of_order: 'this line was repeated, moved or added',
  new_chain: 'a new chain begins: what was before is not here',
  does_not_follow: 'this line, or the one before it, was changed',
  unended: 'the last line is half written: by a broker that was killed, or that is just writing',
  other_head: 'the last line is another one than --head says: lines were removed or added after it',
};

function reportLines(report: AuditReport, paint: Paint): readonly string[] {
  const { whole, lines, seq, head, tears, faults } = report;
  const found = faults.map(
    ({ file, line, fault }) => `${file}:${line}: ${paint('bad', fault)}: ${WORDS[fault]}`,
  );
  const verdict = whole
    ? paint('good', 'whole')
    : paint('bad', lines === 0 ? 'empty' : 'not whole');
  return [
    ...found,
    `${verdict}: ${lines} lines, the last one has the number ${seq}`,
    ...(tears > 0 ? [`half written lines of brokers that were killed: ${tears}`] : []),
    `head: ${head}`,
  ];
}
