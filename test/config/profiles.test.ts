import { expect, test } from '@jest/globals';
import { PROFILE_NAMES as CONFIGURABLE } from '../../src/config/settings.js';
import { PROFILE_NAMES as BUILT_IN } from '../../src/verification/index.js';

// The two rooms do not import each other, so that each can be used alone; here they are held together.
test('every built-in profile can be configured, and no other', () => {
  expect([...CONFIGURABLE].sort()).toEqual([...BUILT_IN].sort());
});
