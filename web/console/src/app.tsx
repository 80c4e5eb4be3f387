import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { Redirect, Route, Switch } from "wouter";
import { SessionProvider, useAccess } from "./api/session";
import { ProxiesPage, ProxyPage } from "./pages/proxies";
import { RegistriesPage } from "./pages/registries";
import { ServicesPage } from "./pages/services";
import { Login } from "./shell/login";
import { Shell } from "./shell/shell";
import { EmptyFirst, Loading } from "./ui/states";

const ServicePage = lazy(() => import("./pages/service"));

const client = new QueryClient({ defaultOptions: { queries: { refetchOnWindowFocus: true } } });

function Nowhere() {
  return (
    <EmptyFirst icon="unknown" title="There is no such page">
      <p>The address is wrong, or the page is of another version.</p>
    </EmptyFirst>
  );
}

function Routes() {
  return (
    <Suspense fallback={<Loading />}>
      <Switch>
        <Route path="/">
          <Redirect to="/services" />
        </Route>
        <Route path="/services" component={ServicesPage} />
        <Route path="/services/:namespace/:name" component={ServicePage} />
        <Route path="/proxies" component={ProxiesPage} />
        <Route path="/proxies/:id" component={ProxyPage} />
        <Route path="/registries" component={RegistriesPage} />
        <Route component={Nowhere} />
      </Switch>
    </Suspense>
  );
}

function Gate() {
  const { state } = useAccess();
  if (state.is === "asking") return <Loading rows={3} />;
  if (state.is === "out") return <Login told={state.told} />;
  return (
    <Shell>
      <Routes />
    </Shell>
  );
}

export function App() {
  return (
    <QueryClientProvider client={client}>
      <SessionProvider>
        <Gate />
      </SessionProvider>
    </QueryClientProvider>
  );
}
