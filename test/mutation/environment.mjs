import RealmEnvironment from '../support/realm-environment.mjs';

/** The environment of the tests, which shows the runner what jest has been told by the test file. */
export default class MutationEnvironment extends RealmEnvironment {
  /** The state of jest-circus: the blocks and tests of the file. */
  circus;

  handleTestEvent(event, state) {
    this.circus = state;
    super.handleTestEvent(event);
  }
}
