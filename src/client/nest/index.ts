export { RunAsService } from '../../context/run-as-service.js';
export { AttachmentErrorFilter } from './service-client.module.js';
export {
  AUTHORIZED_FETCH,
  SERVICE_TOKEN_SOURCE,
  type ServiceClientModuleExtras,
  type ServiceClientModuleOptions,
} from './service-client.module.js';
export { ServiceClientModule } from './service-client.module.js';
