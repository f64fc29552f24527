export { RunAsService } from '../../context/run-as-service.js';
export { AttachmentErrorFilter } from './attachment-error.filter.js';
export {
  AUTHORIZED_FETCH,
  SERVICE_TOKEN_SOURCE,
  type ServiceClientModuleExtras,
  type ServiceClientModuleOptions,
} from './service-client.module-definition.js';
export { ServiceClientModule } from './service-client.module.js';
