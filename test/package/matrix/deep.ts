// Must not compile where TypeScript follows "exports".
export { JwtGuard } from 'service-token-kit/cjs/guard/jwt.guard.js';
