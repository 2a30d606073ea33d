//! IP addresses by reach: addresses of the public Internet, and addresses that nobody outside may
//! make the operator contact.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 blocks that are not globally routable, with their prefix lengths: the IANA IPv4
/// Special-Purpose Address Registry (RFC 6890), multicast and the reserved class E. The two anycast
/// addresses of 192.0.0.0/24 are no websites, so the whole block counts.
const NOT_GLOBAL_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8),            // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private use
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared address space of carriers
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // inside every virtual machine of Azure
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private use
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // IETF protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // relays of 6to4, deprecated
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private use
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, and broadcast
];

/// The only IPv6 block with globally routable unicast addresses (IANA IPv6 Address Space).
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks within [`GLOBAL_V6`] that are not globally routable (IANA IPv6 Special-Purpose Address
/// Registry). The few anycast addresses of `2001::/23` are no websites, so the whole block counts;
/// Teredo is in it.
const NOT_GLOBAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // IETF protocol assignments
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// IPv6 blocks whose addresses stand for an IPv4 address in their last 32 bits.
const LAST_32_BITS: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), // IPv4-mapped (RFC 4291 §2.5.5.2)
    (Ipv6Addr::UNSPECIFIED, 96),                      // IPv4-compatible (RFC 4291 §2.5.5.1)
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96), // NAT64 (RFC 6052)
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48), // NAT64 of a network (RFC 8215)
];

/// 6to4: the IPv4 address follows the first 16 bits (RFC 3056).
const SIX_TO_FOUR: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);

/// IPv4 blocks that are never contacted: they reach the node or the metadata service of a cloud,
/// whose answers may be credentials, or no single server.
const FORBIDDEN_V4: [(Ipv4Addr, u32); 7] = [
    (Ipv4Addr::UNSPECIFIED, 8),              // unspecified
    (Ipv4Addr::new(169, 254, 0, 0), 16),     // link-local: metadata of AWS, Azure, GCP and others
    (Ipv4Addr::new(100, 100, 100, 200), 32), // metadata of Alibaba Cloud
    (Ipv4Addr::new(168, 63, 129, 16), 32),   // wire server of Azure
    (Ipv4Addr::new(192, 0, 0, 192), 32),     // metadata of Oracle Cloud
    (Ipv4Addr::new(224, 0, 0, 0), 4),        // multicast
    (Ipv4Addr::BROADCAST, 32),               // broadcast
];

/// IPv6 blocks that are never contacted, for the same reasons.
const FORBIDDEN_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::UNSPECIFIED, 128),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10), // link-local
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),  // multicast
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32), // metadata and identity of AWS
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32), // metadata of GCP
];

/// Whether `address` can be reached from anywhere on the Internet, by IANA's registries. An address
/// that stands for an IPv4 address counts as that one.
pub fn is_globally_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !NOT_GLOBAL_V4.iter().any(|block| within_v4(v4, *block)),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => !is_compatible(v6) && is_globally_routable(v4.into()),
            None => {
                within_v6(v6, GLOBAL_V6) && !NOT_GLOBAL_V6.iter().any(|block| within_v6(v6, *block))
            }
        },
    }
}

/// Whether `address` must never be contacted on behalf of others: link-local, multicast,
/// unspecified, or the metadata service of a cloud, also where an IPv6 address stands for one of
/// these.
pub fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => FORBIDDEN_V4.iter().any(|block| within_v4(v4, *block)),
        IpAddr::V6(v6) => {
            FORBIDDEN_V6.iter().any(|block| within_v6(v6, *block))
                || embedded(v6).is_some_and(|v4| is_forbidden(v4.into()))
        }
    }
}

/// Returns the IPv4 address that `address` stands for, if any. Loopback and the unspecified address
/// lie in the block of IPv4-compatible addresses, and are none.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    let bits = address.to_bits();
    let bits = if within_v6(address, SIX_TO_FOUR) {
        bits >> 80
    } else if LAST_32_BITS.iter().any(|block| within_v6(address, *block)) {
        bits
    } else {
        return None;
    };
    u32::try_from(bits & u128::from(u32::MAX)).ok().map(Ipv4Addr::from_bits)
}

/// Whether `address` is IPv4-compatible. No router takes such an address since RFC 4291.
fn is_compatible(address: Ipv6Addr) -> bool {
    within_v6(address, LAST_32_BITS[1])
}

fn within_v4(address: Ipv4Addr, (block, length): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ block.to_bits()).leading_zeros() >= length
}

fn within_v6(address: Ipv6Addr, (block, length): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ block.to_bits()).leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn global(address: &str) -> bool {
        is_globally_routable(address.parse().unwrap())
    }

    fn forbidden(address: &str) -> bool {
        is_forbidden(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_websites_are_globally_routable() {
        let websites = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2600::1",
            "2001:200::1",
            "2a00:1450:4001::68",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ];
        for address in websites {
            assert!(global(address), "{address}");
        }
    }

    #[test]
    fn addresses_of_ianas_special_registries_are_not_globally_routable() {
        let special = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.9 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 \
            :: ::1 ::a00:1 ::101:101 ::ffff:10.0.0.1 64:ff9b::a00:1 64:ff9b:1::a00:1 100::1 2001::1 2001:2::1 2001:db8::1 2002:a00:1::1 3fff::1 5f00::1 fc00::1 fd00::1 fe80::1 fec0::1 ff02::1";
        for address in special.split_whitespace() {
            assert!(!global(address), "{address}");
        }
    }

    #[test]
    fn metadata_services_are_forbidden_in_every_form_of_their_address() {
        let metadata = [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::ffff:100.100.100.200",
            "::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "ff02::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
        ];
        for address in metadata {
            assert!(forbidden(address), "{address}");
        }
        for address in ["127.0.0.1", "::1", "10.0.0.1", "100.100.100.201", "fd00::1", "1.1.1.1"] {
            assert!(!forbidden(address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_globally_routable_address_is_forbidden_or_private(bits in any::<u128>()) {
            let v6 = Ipv6Addr::from_bits(bits);
            let v4 = Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap());
            for address in [IpAddr::V6(v6), IpAddr::V4(v4)] {
                if is_globally_routable(address) {
                    prop_assert!(!is_forbidden(address), "{address}");
                    prop_assert!(!address.is_loopback() && !address.is_multicast(), "{address}");
                }
            }
            prop_assert!(!is_globally_routable(v4.into()) || !v4.is_private());
        }

        #[test]
        fn an_address_that_stands_for_another_one_is_judged_as_that_one(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let nat64 = (0x64_ff9b_u128 << 96) | u128::from(bits);
            let six_to_four = (0x2002_u128 << 112) | (u128::from(bits) << 80) | 1;
            let forms = [v4.to_ipv6_mapped(), Ipv6Addr::from_bits(nat64), Ipv6Addr::from_bits(six_to_four)];
            for form in forms {
                prop_assert_eq!(is_globally_routable(form.into()), is_globally_routable(v4.into()));
                prop_assert_eq!(is_forbidden(form.into()), is_forbidden(v4.into()));
            }
        }
    }
}
