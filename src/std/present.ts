/** Properties of an object that are not undefined; with `exactOptionalPropertyTypes` the others have to be absent. */
export type Present<Fields extends object> = { [Key in keyof Fields]?: Exclude<Fields[Key], undefined> };

/** Returns the fields that have a value: the form that optional arguments take in a request. */
export function present<Fields extends object>(fields: Fields): Present<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<Fields>;
}
