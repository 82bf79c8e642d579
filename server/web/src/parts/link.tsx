// A link to a view: an ordinary one for the browser (new tab, copy), and no reload on a plain click.
import type { ComponentChildren, JSX } from "preact";
import { go, hrefTo, type Patch, useLocation, type View } from "../state";

export interface LinkProps {
  view: View;
  /** Parameters to change (escaped), or to leave out (null). */
  patch?: Patch;
  class?: string;
  title?: string | undefined;
  tabIndex?: number;
  "aria-label"?: string;
  "aria-current"?: "page" | undefined;
  children: ComponentChildren;
}

/** A link to a view. */
export function Link({ view, patch = {}, children, ...rest }: LinkProps): JSX.Element {
  useLocation(); // the address of a link changes with that of the page
  return (
    <a
      {...rest}
      href={hrefTo(view, patch)}
      onClick={(event) => {
        if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        go(view, patch);
      }}
    >
      {children}
    </a>
  );
}
