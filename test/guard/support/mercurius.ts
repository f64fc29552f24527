import { jest } from '@jest/globals';

/**
 * Loads Nest's driver for Mercurius. Mercurius requires `@fastify/static`, for its GraphiQL page alone, and that requires an ES
 * module: Node can do it, Jest's own `require` cannot. The page is off here, so that the package is left out.
 */
export async function loadMercurius(): Promise<typeof import('@nestjs/mercurius')> {
  jest.mock('@fastify/static', () => () => {
    throw new Error('The page is off: nothing should ask for its files.');
  });
  return import('@nestjs/mercurius');
}
