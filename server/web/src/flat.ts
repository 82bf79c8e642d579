// Nested values as one list of dotted names. Pure.
import type { Value } from "./api";

/** The leaves of nested maps: `{model: {depth: 3}}` is `model.depth`; lists are leaves. */
export function flatten(values: { [name: string]: Value }, prefix = ""): { name: string; value: Value }[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const name = `${prefix}${key}`;
    const isMap = value !== null && typeof value === "object" && !Array.isArray(value);
    return isMap && Object.keys(value).length > 0 ? flatten(value, `${name}.`) : [{ name, value }];
  });
}
