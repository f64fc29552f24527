import { HttpException, IntrinsicException } from '@nestjs/common';
import type { Refusal } from './refusal.js';

/** What a refused call is told in JSON. */
interface RefusalBody {
  readonly statusCode: number;
  readonly error?: string;
  readonly message: string;
}

function bodyOf({ status, error, description }: Refusal): RefusalBody {
  return { statusCode: status, ...(error === undefined ? {} : { error }), message: description };
}

/** A refused call over HTTP. The headers of the answer are set already when it is thrown. */
export class CallRefusedException extends HttpException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(bodyOf(refusal), refusal.status);
    this.refusal = refusal;
  }
}

const GRAPHQL_CODES = {
  400: 'BAD_REQUEST',
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  503: 'SERVICE_UNAVAILABLE',
} as const satisfies Record<Refusal['status'], string>;

/** A refused GraphQL field. The others of the same operation are not concerned. */
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
 * installed; the decorators bring a filter that answers as those two would be answered. Where that filter is
 * missing, Nest answers "Internal server error".
 */
export class MessageRefusedException extends IntrinsicException {
  /** Why. */
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.description);
    this.name = 'MessageRefusedException';
    this.refusal = refusal;
  }

  /** What the other side is told. */
  get answer(): Readonly<Record<string, unknown>> {
    const { scopes, retryAfterSeconds } = this.refusal;
    return {
      status: 'error',
      ...bodyOf(this.refusal),
      ...(scopes === undefined ? {} : { scopes }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    };
  }
}
