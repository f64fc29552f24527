import { HttpException, IntrinsicException } from '@nestjs/common';
import type { Refusal } from '../verification/bearer-access.js';
import { refusalBody } from './access.js';

/** A refused call over HTTP, in NestJS. The guard sets the headers of the answer before it throws this. */
export class CallRefusedException extends HttpException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusalBody(refusal), refusal.status);
    this.refusal = refusal;
  }
}

const GRAPHQL_CODES = {
  400: 'BAD_REQUEST',
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  503: 'SERVICE_UNAVAILABLE',
} as const satisfies Record<Refusal['status'], string>;

/** A refused GraphQL field. Other fields of the operation are not affected. */
export class GraphqlCallRefusedException extends CallRefusedException {
  /** What GraphQL servers copy into the error's `extensions`. */
  readonly extensions: Readonly<Record<string, unknown>>;

  constructor(refusal: Refusal) {
    super(refusal);
    const { status, error, scopes, retryAfterSeconds } = refusal;
    this.extensions = {
      code: GRAPHQL_CODES[status],
      ...(error === undefined ? {} : { error }),
      ...(scopes === undefined ? {} : { scopes }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    };
  }
}

/**
 * A refused message of a WebSocket or a microservice. It is neither `WsException` nor `RpcException`, whose packages may not be
 * installed; the decorators bring a filter that answers as Nest does for those two. Without that filter, Nest answers
 * "Internal server error".
 */
export class MessageRefusedException extends IntrinsicException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.description);
    this.name = 'MessageRefusedException';
    this.refusal = refusal;
  }

  /** What the other side gets. */
  get answer(): Readonly<Record<string, unknown>> {
    const { scopes, retryAfterSeconds } = this.refusal;
    return {
      status: 'error',
      ...refusalBody(this.refusal),
      ...(scopes === undefined ? {} : { scopes }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    };
  }
}
