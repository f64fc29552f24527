import RealmEnvironment from '../support/realm-environment.mjs';

/** The environment of the tests, which shows the runner what jest has been told by the test file. */
export default class MutationEnvironment extends RealmEnvironment {
  /** The state of jest-circus: the blocks and tests of the file. */
  circus;
  /** Notified of what nobody has caught, and of what was caught after all. */
  onError;

  handleTestEvent(event, state) {
    this.circus = state;
    if (event.name === 'error' || event.name === 'error_handled') this.onError?.(event);
    super.handleTestEvent(event);
  }
}
