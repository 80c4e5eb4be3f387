//! Whose a name is.

use super::*;

fn of(service: &str) -> Result<String, NotOwn> {
    own_host(service, "shop", "cluster.local").map(|host| host.to_string())
}

#[test]
fn one_label_is_a_service_of_the_workloads_namespace() {
    assert_eq!(of("cart").unwrap(), "cart.shop.svc.cluster.local");
    assert_eq!(of("Cart.shop.svc.cluster.local.").unwrap(), "cart.shop.svc.cluster.local");
}

#[test]
fn another_namespaces_service_is_never_its_own_however_it_is_written() {
    for name in ["cart.prod.svc.cluster.local", "CART.prod.svc.cluster.local.", "cart.prod.svc", "a.cart.prod.svc"] {
        let told = of(name).unwrap_err();
        assert!(matches!(&told, NotOwn::Never(why) if why.contains("namespace prod")), "{name}: {told}");
    }
    assert!(matches!(of("*.prod.svc.cluster.local"), Err(NotOwn::Never(_))));
}

#[test]
fn what_is_no_service_at_all_is_never_taken() {
    for name in ["*", "10.96.0.10", "*.svc.cluster.local", "*.svc", "cart.svc.cluster.local", "a..b", "-a"] {
        let told = of(name).unwrap_err();
        assert!(matches!(told, NotOwn::Never(_)) && told.to_string().starts_with("service \""), "{name}: {told}");
    }
}

#[test]
fn a_shorter_form_of_its_own_is_told_how_to_be_written() {
    for name in ["cart.shop", "cart.shop.svc"] {
        assert!(of(name).is_err_and(|told| told.to_string().contains("write cart")), "{name}");
    }
}

#[test]
fn all_else_waits_for_an_operators_word() {
    let others = [
        "cart.prod",
        "api.example.com",
        "*.example.com",
        "svc.cluster.local",
        "api.example.com.shop.svc.cluster.local",
    ];
    for name in others {
        assert!(matches!(of(name), Err(NotOwn::Unnamed(_))), "{name}: {:?}", of(name));
    }
}
