// Whether an element is in sight, or nearly.
import type { RefObject } from "preact";
import { useEffect, useState } from "preact/hooks";

/** True while the element is in the window or less than a third of a window away from it. */
export function useInSight(element: RefObject<Element | null>): boolean {
  const [inSight, setInSight] = useState(false);
  useEffect(() => {
    if (element.current === null) return;
    const observer = new IntersectionObserver(
      (entries) => setInSight(entries.at(-1)?.isIntersecting ?? false),
      { rootMargin: "30%" },
    );
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return inSight;
}
