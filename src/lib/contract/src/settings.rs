//! The settings document, as it is sent and as it is answered: the contract's field names in one list. What Culvert does
//! not have is accepted and dropped, and answered as null.

use serde::Serialize;

use crate::Secret;
use crate::reply::Admin;

macro_rules! settings {
    (
        secret { $($secret:ident),+ $(,)? } text { $($text:ident),+ $(,)? } flag { $($flag:ident),+ $(,)? }
        number { $($number:ident),+ $(,)? } list { $($list:ident),+ $(,)? }
    ) => {
        crate::body::object! {
            /// What the settings, and the administrator's own name and password, are to be. Everything but `username`,
            /// `password` and `theme` is replaced.
            #[expect(missing_docs, reason = "the names are the contract's")]
            SettingsChange {
                username: String,
                password: Secret,
                email_tls: bool,
                $($secret: Secret,)+
                $($text: String,)+
                $($flag: bool,)+
                $($number: i64,)+
                $($list: Vec<String>,)+
            }
        }

        /// The administrator who asks, and the settings.
        #[derive(Debug, Clone, Serialize)]
        #[expect(missing_docs, reason = "the names are the contract's")]
        pub struct Settings {
            #[serde(flatten)]
            pub admin: Admin,
            pub has_server_sso: bool,
            $(pub $secret: Option<String>,)+
            $(pub $text: Option<String>,)+
            $(pub $flag: bool,)+
            $(pub $number: i64,)+
            $(pub $list: Option<Vec<String>>,)+
        }

        impl Settings {
            /// The settings of this administrator, all others null, false or zero.
            #[must_use]
            pub fn of(admin: Admin) -> Self {
                Self {
                    admin,
                    has_server_sso: false,
                    $($secret: None,)+
                    $($text: None,)+
                    $($flag: false,)+
                    $($number: 0,)+
                    $($list: None,)+
                }
            }
        }
    };
}

settings! {
    secret {
        server_key, influxdb_token, email_password, sso_azure_app_secret, sso_authzero_app_secret,
        sso_google_key, sso_duo_token, sso_duo_secret, sso_yubico_secret, sso_radius_secret, sso_okta_token,
        sso_onelogin_secret, sso_jumpcloud_secret, oracle_public_key, pritunl_cloud_token, pritunl_cloud_secret,
        us_east_1_access_key, us_east_1_secret_key, us_east_2_access_key, us_east_2_secret_key,
        us_west_1_access_key, us_west_1_secret_key, us_west_2_access_key, us_west_2_secret_key,
        us_gov_east_1_access_key, us_gov_east_1_secret_key, us_gov_west_1_access_key, us_gov_west_1_secret_key,
        eu_north_1_access_key, eu_north_1_secret_key, eu_west_1_access_key, eu_west_1_secret_key,
        eu_west_2_access_key, eu_west_2_secret_key, eu_west_3_access_key, eu_west_3_secret_key,
        eu_central_1_access_key, eu_central_1_secret_key, ca_central_1_access_key, ca_central_1_secret_key,
        cn_north_1_access_key, cn_north_1_secret_key, cn_northwest_1_access_key, cn_northwest_1_secret_key,
        ap_northeast_1_access_key, ap_northeast_1_secret_key, ap_northeast_2_access_key,
        ap_northeast_2_secret_key, ap_southeast_1_access_key, ap_southeast_1_secret_key,
        ap_southeast_2_access_key, ap_southeast_2_secret_key, ap_southeast_3_access_key,
        ap_southeast_3_secret_key, ap_east_1_access_key, ap_east_1_secret_key, ap_south_1_access_key,
        ap_south_1_secret_key, sa_east_1_access_key, sa_east_1_secret_key,
    }
    text {
        server_cert, acme_domain, auditing, monitoring, influxdb_url, influxdb_org, influxdb_bucket,
        email_from, email_server, email_username, pin_mode, sso, sso_azure_directory_id, sso_azure_app_id,
        sso_azure_region, sso_authzero_domain, sso_authzero_app_id, sso_google_email, sso_duo_host,
        sso_duo_mode, sso_yubico_client, sso_radius_host, sso_org, sso_saml_url, sso_saml_issuer_url,
        sso_saml_cert, sso_okta_app_id, sso_okta_mode, sso_onelogin_app_id, sso_onelogin_id, sso_onelogin_mode,
        sso_jumpcloud_app_id, server_sso_url, theme, public_address, public_address6, routed_subnet6,
        routed_subnet6_wg, cloud_provider, route53_region, route53_zone, oracle_user_ocid, pritunl_cloud_host,
    }
    flag {
        ipv6, sso_cache, sso_client_cache, restrict_import, restrict_client, client_reconnect,
        drop_permissions, reverse_proxy,
    }
    number {
        server_port, sso_azure_version,
    }
    list {
        sso_match,
    }
}
