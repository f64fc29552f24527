export {
  createTokenSecuredDocument,
  type SecuredDocument,
  type SecurityRequirement,
  type TokenSecurityOptions,
} from './token-security.js';
