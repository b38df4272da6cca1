// Package route finds the route of a request.
//
// A [Table] is an immutable index that is made from another one by adding and removing routes; making it costs what the edit touches, not what the
// table holds. Whole paths, and prefixes that end with a slash, are found by hashing, one probe for each depth at which there are prefixes; prefixes that end
// elsewhere are in a radix tree over bytes. In the mode radixtree_host_uri hosts are found in the same way, names as a whole and
// wildcards by their reversed suffix, and the paths of all hosts are in one hash table, at places that depend on the host. The cost of a lookup depends on the
// path and not on the number of routes, apart from the cache misses of a table larger than the caches. There are few of those: a probe reads one slot, which
// holds half of the hash, and what is found (a leaf, or a host) is two neighbouring cache lines with the key and all that the common route needs.
//
// The order of candidates is that of lua-resty-radixtree as APISIX uses it: a URI that is the whole path comes before every prefix, a longer prefix before a
// shorter one; among routes at the same place a higher priority first, then the longer URI as written, then the older route. A
// candidate whose methods, addresses, hosts, conditions or path pattern do not hold is passed over. In radixtree_host_uri an exact host comes before
// wildcards, a longer wildcard before a shorter one, and the routes without host come last.
package route
