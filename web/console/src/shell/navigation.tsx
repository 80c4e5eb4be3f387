import { useState } from "react";
import { Link, useLocation } from "wouter";
import { useMedia } from "../lib/media";
import { useKept } from "../lib/params";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { PLACES } from "./nav";

function Places({ narrow, chosen }: { narrow?: boolean; chosen?: () => void }) {
  const [at] = useLocation();
  const kept = useKept();
  return (
    <ul className="grid gap-0.5 p-2">
      {PLACES.map((place) => {
        const here = place.path === "/" ? at === "/" : at === place.path || at.startsWith(`${place.path}/`);
        return (
          <li key={place.path}>
            <Link
              href={kept(place.path)}
              onClick={chosen}
              aria-current={here ? "page" : undefined}
              aria-label={narrow ? place.title : undefined}
              title={`${place.title} (g ${place.key})`}
              className={`flex h-8 items-center gap-3 rounded-md px-2.5 hover:no-underline ${here ? "bg-accent-soft font-medium text-accent" : "text-soft hover:bg-raised hover:text-ink"}`}
            >
              <Icon name={place.icon} />
              {!narrow && place.title}
            </Link>
          </li>
        );
      })}
    </ul>
  );
}

/** The column beside each page: names, or signs alone where there is little room and nobody asked for more. */
export function Column() {
  const small = useMedia("(max-width: 899px)");
  const [wanted, want] = useState<boolean | null>(null);
  const narrow = wanted ?? small;
  const kept = useKept();
  return (
    <nav aria-label="Pages" className={`flex shrink-0 flex-col overflow-y-auto border-r border-line bg-panel ${narrow ? "w-[52px]" : "w-[196px]"}`}>
      <Link href={kept("/")} className="flex h-12 shrink-0 items-center gap-2 border-b border-line px-4 text-base font-semibold text-ink hover:no-underline" aria-label="weft, home">
        <img src="/mark.svg" alt="" width={20} height={20} />
        {!narrow && "weft"}
      </Link>
      <Places narrow={narrow} />
      <button type="button" className="button quiet mt-auto mb-2 ml-2 w-9 shrink-0" aria-label={narrow ? "Widen the navigation" : "Narrow the navigation"} onClick={() => want(!narrow)}>
        <Icon name={narrow ? "right" : "left"} />
      </button>
    </nav>
  );
}

/** The same on a phone: a button that opens the list over the page. */
export function Drawer() {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="button quiet" aria-label="Pages" aria-haspopup="dialog" onClick={() => setOpen(true)}>
        <Icon name="menu" />
      </button>
      {open && (
        <Dialog title="Pages" close={() => setOpen(false)} top>
          <nav aria-label="Pages">
            <Places chosen={() => setOpen(false)} />
          </nav>
        </Dialog>
      )}
    </>
  );
}
