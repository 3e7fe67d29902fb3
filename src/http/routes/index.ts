import type { Route } from '../route.ts';
import { ENGINE_ROUTES } from './engine.ts';
import { FILE_ROUTES } from './files.ts';
import { IMAGE_ROUTES } from './images.ts';
import { INSPECT_ROUTES } from './inspect.ts';
import { OPERATION_ROUTES } from './operations.ts';

/** Every operation of `/v1`. */
export const ROUTES: readonly Route[] = [
  ...IMAGE_ROUTES,
  ...FILE_ROUTES,
  ...OPERATION_ROUTES,
  ...INSPECT_ROUTES,
  ...ENGINE_ROUTES,
];
