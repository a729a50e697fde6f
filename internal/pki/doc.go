// Package pki is who belongs to the cluster and how that is proved: the certificate authority, the certificates that hosts and
// administrators show each other, and the tokens that let a new host in.
//
// What it promises:
//
//   - Every connection made with [Identity.ServerTLS] and [Identity.ClientTLS] is TLS 1.3 with both sides proved to be of the
//     same cluster. A host's name stands in its certificate as the URI clusterbackup://CLUSTERUID/host/NAME, an administrator's as
//     clusterbackup://CLUSTERUID/admin/NAME; no other field of any message says who speaks.
//   - A token admits one host, once, within its time. It carries the authority's fingerprint, so that the joining host knows
//     whom it talks to from its first connection on, and it never learns a secret of another cluster.
//   - Init and Join either finish or leave nothing that a second attempt would trip over. A join whose answer was lost is
//     repeated with the same token and gets the same answer.
//   - What is in the state directory is never overwritten because it cannot be read: such a file is named in the error and its
//     bytes stay.
//
// # The authority's key is on every member
//
// Any host must be able to admit another while the rest are down, and must be able to renew its own certificate without
// asking. So the authority's private key is handed to each member when it joins (over the authenticated connection; kept 0600). The
// price, plainly: whoever takes over one member as its administrator can make certificates for any name. Removing a Host shuts its
// machine out as long as that machine is merely stale or lost, but does not defend against one whose key was stolen: for that, make a
// new cluster. The data a thief could reach is what the hosts hold anyway: each member already holds plain replicas.
//
// # The state directory
//
//	STATE/cluster.json           which cluster, which host, where it listens
//	STATE/identity/ca.crt, ca.key, host.crt, host.key
//	STATE/tokens/ID.json         join tokens made here: the secret's hash, its end, and who used it
//	STATE/resources.before-TIME  desired state that was here before the host entered its cluster; nothing reads it
//	STATE/lock                   held by the one daemon (or init or join) that works here
package pki
