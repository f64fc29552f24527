import type { AdapterFactory, errors, Provider } from 'oidc-provider';
import { EmbeddedProviderError } from './embedded-provider-error.js';

/** What the embedded provider needs of `oidc-provider`. */
export interface OidcProviderLibrary {
  readonly Provider: typeof Provider;
  readonly errors: typeof errors;
  /** In-memory storage; `undefined` leaves the library's default, which is the same with a warning. */
  readonly adapter: AdapterFactory | undefined;
}

type Import = (specifier: string) => Promise<Record<string, unknown>>;

const importModule: Import = (specifier) => import(specifier) as Promise<Record<string, unknown>>;

/**
 * Loads the optional package `oidc-provider`.
 *
 * Its entry point prints a warning on every Node before 22, and offers no switch for it. All it does besides is to
 * re-export the modules that are loaded here, so that nothing has to be patched to keep the terminal clean. A version
 * that has these modules elsewhere is loaded by its entry point, and then the warning is printed.
 *
 * @throws {EmbeddedProviderError} `DEV_PROVIDER_NOT_INSTALLED`.
 */
export async function loadOidcProvider(load: Import = importModule): Promise<OidcProviderLibrary> {
  try {
    return await loadParts(load);
  } catch (error) {
    if (!isMissing(error)) throw notInstalled(error);
  }
  try {
    const entry = (await load('oidc-provider')) as unknown as OidcProviderLibrary;
    return { Provider: entry.Provider, errors: entry.errors, adapter: undefined };
  } catch (error) {
    throw notInstalled(error);
  }
}

async function loadParts(load: Import): Promise<OidcProviderLibrary> {
  const [provider, errorClasses, memory] = await Promise.all([
    load('oidc-provider/lib/provider.js'),
    load('oidc-provider/lib/helpers/errors.js'),
    load('oidc-provider/lib/adapters/memory_adapter.js'),
  ]);
  const MemoryAdapter = memory['default'] as new (name: string) => ReturnType<AdapterFactory>;
  return {
    Provider: provider['Provider'] as typeof Provider,
    errors: errorClasses as unknown as typeof errors,
    adapter: (name) => new MemoryAdapter(name),
  };
}

function isMissing(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : '';
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'ERR_PACKAGE_PATH_NOT_EXPORTED';
}

function notInstalled(cause: unknown): EmbeddedProviderError {
  return new EmbeddedProviderError(
    'DEV_PROVIDER_NOT_INSTALLED',
    'Dev mode mints its tokens with the package "oidc-provider", which cannot be loaded. Install it: npm install oidc-provider@9',
    { cause },
  );
}
