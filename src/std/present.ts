type Optional<Fields> = { [Key in keyof Fields]: undefined extends Fields[Key] ? Key : never }[keyof Fields];

/** Object whose fields are absent rather than undefined, as `exactOptionalPropertyTypes` asks for. */
export type Present<Fields extends object> = Omit<Fields, Optional<Fields>> & {
  [Key in Optional<Fields>]?: Exclude<Fields[Key], undefined>;
};

/** Returns the fields that have a value: the form that optional fields take in a request or an answer. */
export function present<const Fields extends object>(fields: Fields): Present<Fields> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<Fields>;
}
