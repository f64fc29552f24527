import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Module, type INestApplication } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { interval, map, take, type Observable } from 'rxjs';
import { io, type Socket } from 'socket.io-client';
import {
  AllowCustomer,
  AllowService,
  currentCallContext,
  CurrentPrincipal,
  JwtGuardModule,
  Public,
  type Principal,
} from '../../src/guard/index.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, KeptLog, listen } from './support/nest-app.js';

@WebSocketGateway()
class OrdersGateway {
  @SubscribeMessage('customer')
  @AllowCustomer()
  async customer(
    @MessageBody() body: unknown,
    @CurrentPrincipal() who: Principal,
  ): Promise<object> {
    await new Promise(setImmediate);
    return { body, who: who.subject, runner: currentCallContext()?.principal.subject };
  }

  @SubscribeMessage('several')
  @AllowCustomer()
  several(): Observable<{ event: string; data: string | undefined }> {
    return interval(1).pipe(
      take(3),
      map(() => ({ event: 'several', data: currentCallContext()?.principal.subject })),
    );
  }

  @SubscribeMessage('service')
  @AllowService()
  service(@CurrentPrincipal() who: Principal): string {
    return who.subject;
  }

  @SubscribeMessage('public')
  @Public()
  public(): string {
    return currentCallContext()?.principal.subject ?? 'nobody';
  }

  @SubscribeMessage('forgotten')
  forgotten(): string {
    return 'open';
  }
}

describe('over socket.io', () => {
  let issuer: TestIssuer;
  let app: INestApplication;
  let url: string;
  const log = new KeptLog();
  const opened: Socket[] = [];

  beforeAll(async () => {
    issuer = await createIssuer();
    @Module({
      imports: [JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] })],
      providers: [OrdersGateway],
    })
    class GatewayModule {}
    app = await createApp(GatewayModule, 'express', log);
    app.useWebSocketAdapter(new IoAdapter(app));
    url = await listen(app);
  });

  afterEach(() => {
    for (const socket of opened.splice(0)) socket.disconnect();
  });

  afterAll(() => app.close());

  const open = async (
    transport: string,
    headers: Record<string, string> = {},
    auth: Record<string, string> = {},
  ): Promise<Socket> => {
    const socket = io(url, { transports: [transport], extraHeaders: headers, auth });
    opened.push(socket);
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    return socket;
  };
  const refusal = async (socket: Socket, event: string): Promise<unknown> => {
    const refused = new Promise((resolve) => socket.once('exception', resolve));
    socket.emit(event, null);
    return refused;
  };

  test.each(['websocket', 'polling'])(
    'by %s, the handshake’s token is judged for each message',
    async (transport) => {
      const socket = await open(transport, {
        authorization: `Bearer ${await issuer.customerToken()}`,
      });
      await expect(socket.emitWithAck('customer', 'hello')).resolves.toEqual({
        body: 'hello',
        who: 'ann',
        runner: 'ann',
      });
      const several = await new Promise<unknown[]>((resolve) => {
        const answers: unknown[] = [];
        socket.on('several', (answer) => {
          if (answers.push(answer) === 3) resolve(answers);
        });
        socket.emit('several', null);
      });
      expect(several).toEqual(['ann', 'ann', 'ann']);
      await expect(refusal(socket, 'service')).resolves.toMatchObject({
        status: 'error',
        statusCode: 403,
        error: 'insufficient_scope',
      });
      await expect(refusal(socket, 'forgotten')).resolves.toMatchObject({ status: 'error' });
      await expect(socket.emitWithAck('public', null)).resolves.toBe('nobody');
    },
  );

  test('without a token, or with one elsewhere than in the header, a message is refused', async () => {
    const token = await issuer.customerToken();
    for (const socket of [
      await open('websocket'),
      await open('websocket', {}, { token }),
      await open('websocket', { authorization: `Basic ${token}` }),
    ]) {
      await expect(refusal(socket, 'customer')).resolves.toMatchObject({ statusCode: 401 });
    }
    expect(log.lines.join('\n')).not.toContain(token);
  });

  test('a token that has expired since the handshake is refused', async () => {
    const socket = await open('websocket', {
      authorization: `Bearer ${await issuer.serviceToken()}`,
    });
    await expect(socket.emitWithAck('service', null)).resolves.toBe('job');
    issuer.clock.advance(2 * 3_600_000);
    await expect(refusal(socket, 'service')).resolves.toMatchObject({
      statusCode: 401,
      error: 'invalid_token',
    });
  });
});
