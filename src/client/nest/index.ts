export {
  AUTHORIZED_FETCH,
  SERVICE_TOKEN_SOURCE,
  type ServiceClientModuleExtras,
  type ServiceClientModuleOptions,
} from './service-client.module-definition.js';
export { ServiceClientModule } from './service-client.module.js';
