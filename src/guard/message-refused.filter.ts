import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { throwError, type Observable } from 'rxjs';
import { MessageRefusedException } from './exceptions.js';
import { isRecord } from './shapes.js';

/** Answers a refused message the way Nest answers a `WsException` or an `RpcException`. */
@Catch(MessageRefusedException)
export class MessageRefusedFilter implements ExceptionFilter<MessageRefusedException> {
  catch(exception: MessageRefusedException, host: ArgumentsHost): Observable<never> | undefined {
    if (host.getType() === 'rpc') return throwError(() => exception.answer);
    emit(host.switchToWs().getClient<unknown>(), exception.answer);
    return undefined;
  }
}

function emit(client: unknown, answer: Readonly<Record<string, unknown>>): void {
  if (!isRecord(client)) return;
  // A native WebSocket has an `emit` too, which would only tell this process.
  if (typeof client['readyState'] === 'number' && typeof client['send'] === 'function') {
    client['send'](JSON.stringify({ event: 'exception', data: answer }));
  } else if (typeof client['emit'] === 'function') {
    client['emit']('exception', answer);
  }
}
