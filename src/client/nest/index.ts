export { RunAsService } from '../../context/run-as-service.js';
export {
  AttachmentErrorFilter,
  AUTHORIZED_FETCH,
  SERVICE_TOKEN_SOURCE,
  ServiceClientModule,
  type ServiceClientModuleExtras,
  type ServiceClientModuleOptions,
} from './service-client.module.js';
