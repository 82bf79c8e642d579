// The parts of a filter. Pure.

/** The parts of a filter that are joined by `and` outside of parentheses and quotes. */
export function partsOf(filter: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quote = "";
  let from = 0;
  for (let at = 0; at < filter.length; at++) {
    const char = filter[at] as string;
    if (quote !== "") {
      if (char === "\\") at++;
      else if (char === quote) quote = "";
    } else if (char === '"' || char === "'") quote = char;
    else if ("({".includes(char)) depth++;
    else if (")}".includes(char)) depth--;
    else if (depth === 0) {
      const joined = /^\s(and|or)(?=[\s(])/i.exec(filter.slice(at, at + 5))?.[1];
      // An "or" outside of parentheses binds less: then there are no parts.
      if (joined?.toLowerCase() === "or") return [filter];
      if (joined === undefined) continue;
      parts.push(filter.slice(from, at).trim());
      from = at + 1 + joined.length;
    }
  }
  parts.push(filter.slice(from).trim());
  return parts.filter((part) => part !== "");
}
