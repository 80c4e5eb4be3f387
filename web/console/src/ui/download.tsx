import { useState } from "react";

/** Saves as a file what is in sight, or what is read for it. */
export function Download({ name, label, of }: { name: string; label: string; of: () => unknown }) {
  const [busy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    try {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(await of(), null, 2)], { type: "application/json" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } finally {
      setBusy(false);
    }
  };
  return (
    <button type="button" className="button" disabled={busy} title={`Save as ${name}`} onClick={() => void save()}>
      {label}
    </button>
  );
}
