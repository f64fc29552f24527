import { InvalidArgumentError } from 'commander';
import { isPeerId } from '../serving/peers.js';
import { parseUrl } from '../tokens/parse-url.js';

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
