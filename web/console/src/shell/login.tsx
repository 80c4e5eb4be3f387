import { type FormEvent, useState } from "react";
import { useAccess } from "../api/session";
import { Icon } from "../ui/icons";
import { Command } from "../ui/states";

export function Login({ told }: { told?: string }) {
  const { signIn } = useAccess();
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    void signIn(token.trim())
      .catch(() => undefined)
      .finally(() => setBusy(false));
  };
  return (
    <main className="grid min-h-full place-items-center p-6">
      <div className="panel w-full max-w-md p-6">
        <h1 className="mb-1 flex items-center gap-2 text-xl font-semibold">
          <img src="/mark.svg" alt="" width={24} height={24} />
          weft
        </h1>
        <p className="mb-4 text-soft">Open the link that <code className="mono">weft up</code> printed, or sign in with an API token.</p>
        {told && (
          <p className="mb-4 flex gap-2 rounded-md bg-bad-soft px-3 py-2 text-bad" role="alert">
            <Icon name="bad" />
            <span className="min-w-0">{told}</span>
          </p>
        )}
        <form onSubmit={submit} className="grid gap-3">
          <label className="grid gap-1">
            <span className="font-medium">API token</span>
            <input className="field mono" type="password" autoComplete="off" spellCheck={false} autoFocus value={token} placeholder="weft_pat_…" onChange={(event) => setToken(event.target.value)} />
          </label>
          <button type="submit" className="button primary" disabled={!token.trim() || busy}>
            {busy ? "Signing in…" : "Sign in"}
          </button>
        </form>
        <p className="mt-5 mb-2 text-soft">The token of this machine's operator:</p>
        <Command text="cat ~/.local/state/weft/token" />
      </div>
    </main>
  );
}
