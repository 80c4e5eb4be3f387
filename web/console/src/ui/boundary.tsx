import { Component, type ReactNode } from "react";
import { ProblemBox } from "./states";

/** What breaks on one page leaves the others alone. A part that cannot be loaded is most often of a version that is gone. */
export class Boundary extends Component<{ at: string; children: ReactNode }, { error: unknown; at: string }> {
  override state: { error: unknown; at: string } = { error: null, at: this.props.at };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  static getDerivedStateFromProps(props: { at: string }, state: { error: unknown; at: string }) {
    return props.at === state.at ? null : { error: null, at: props.at };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <div className="p-6">
        <ProblemBox error={this.state.error} retry={() => location.reload()} />
      </div>
    );
  }
}
