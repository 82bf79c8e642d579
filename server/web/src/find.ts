// What a search field finds. Pure.

/** Whether a text has what is searched for, in capital or small letters; an empty search finds everything. */
export const hasText = (text: string, wanted: string): boolean =>
  text.toLowerCase().includes(wanted.trim().toLowerCase());
