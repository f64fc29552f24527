// The HEALTHCHECK of the image: is the broker alive, by HTTP, or by HTTPS where it has a certificate of its own?
import http from 'node:http';
import https from 'node:https';

const target = { host: '127.0.0.1', port: process.env.PORT || 3000, path: '/health/live' };

/** Milliseconds; another number can be given as the argument. */
const DEADLINE = 3_000;
// A broker that takes the connection and never answers is not alive, and not every platform ends a check that waits for it.
setTimeout(() => process.exit(1), process.argv[2] ?? DEADLINE);

/** @returns {Promise<number | undefined>} the status; `undefined` without an answer by this protocol. */
function ask({ get }) {
  return new Promise((resolve) => {
    // It asks its own machine: the certificate is for the name by which others reach it.
    get({ ...target, rejectUnauthorized: false }, ({ statusCode }) => resolve(statusCode)).on(
      'error',
      () => resolve(undefined),
    );
  });
}

process.exit(((await ask(http)) ?? (await ask(https))) === 200 ? 0 : 1);
