"""The functions that expressions may call, as a table of overloads.

    FUNCTION  OVERLOAD  SIGNATURE

A signature is `(ARGUMENTS) -> RESULT`, or `TARGET.(ARGUMENTS) -> RESULT` for a member function. Single capital letters
stand for any type. The overloads' names are cel-go's and Kubernetes', by which costs are known.
Sources: the CEL language definition, "Standard Definitions"; cel-go ext/README.md; k8s.io/apiserver pkg/cel/library.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from sampan.machinery.cel import types
from sampan.machinery.cel.types import Type


class Overload(NamedTuple):
    """`args` begins with the target's type where it is a member."""

    id: str
    member: bool
    args: tuple[Type, ...]
    result: Type


_STANDARD = """
_?_:_ conditional (bool, T, T) -> T
_&&_ logical_and (bool, bool) -> bool
_||_ logical_or (bool, bool) -> bool
!_ logical_not (bool) -> bool
@not_strictly_false not_strictly_false (bool) -> bool
_==_ equals (T, T) -> bool
_!=_ not_equals (T, T) -> bool
_<_ less_bool (bool, bool) -> bool
_+_ add_bytes (bytes, bytes) -> bytes
_+_ add_double (double, double) -> double
_+_ add_duration_duration (duration, duration) -> duration
_+_ add_duration_timestamp (duration, timestamp) -> timestamp
_+_ add_timestamp_duration (timestamp, duration) -> timestamp
_+_ add_int64 (int, int) -> int
_+_ add_list (list(T), list(T)) -> list(T)
_+_ add_string (string, string) -> string
_+_ add_uint64 (uint, uint) -> uint
_-_ subtract_double (double, double) -> double
_-_ subtract_duration_duration (duration, duration) -> duration
_-_ subtract_int64 (int, int) -> int
_-_ subtract_timestamp_duration (timestamp, duration) -> timestamp
_-_ subtract_timestamp_timestamp (timestamp, timestamp) -> duration
_-_ subtract_uint64 (uint, uint) -> uint
_*_ multiply_double (double, double) -> double
_*_ multiply_int64 (int, int) -> int
_*_ multiply_uint64 (uint, uint) -> uint
_/_ divide_double (double, double) -> double
_/_ divide_int64 (int, int) -> int
_/_ divide_uint64 (uint, uint) -> uint
_%_ modulo_int64 (int, int) -> int
_%_ modulo_uint64 (uint, uint) -> uint
-_ negate_double (double) -> double
-_ negate_int64 (int) -> int
_[_] index_list (list(T), int) -> T
_[_] index_map (map(K, V), K) -> V
_[_] optional_list_index_value (optional_type(list(V)), int) -> optional_type(V)
_[_] optional_map_index_value (optional_type(map(K, V)), K) -> optional_type(V)
_[?_] list_optindex_optional_int (list(V), int) -> optional_type(V)
_[?_] optional_list_optindex_optional_int (optional_type(list(V)), int) -> optional_type(V)
_[?_] map_optindex_optional_value (map(K, V), K) -> optional_type(V)
_[?_] optional_map_optindex_optional_value (optional_type(map(K, V)), K) -> optional_type(V)
@in in_list (T, list(T)) -> bool
@in in_map (K, map(K, V)) -> bool
size size_bytes (bytes) -> int
size size_list (list(T)) -> int
size size_map (map(K, V)) -> int
size size_string (string) -> int
size bytes_size bytes.() -> int
size list_size list(T).() -> int
size map_size map(K, V).() -> int
size string_size string.() -> int
contains contains_string string.(string) -> bool
endsWith ends_with_string string.(string) -> bool
startsWith starts_with_string string.(string) -> bool
matches matches (string, string) -> bool
matches matches_string string.(string) -> bool
type type (T) -> type
dyn to_dyn (T) -> dyn
bool bool_to_bool (bool) -> bool
bool string_to_bool (string) -> bool
bytes bytes_to_bytes (bytes) -> bytes
bytes string_to_bytes (string) -> bytes
double double_to_double (double) -> double
double int64_to_double (int) -> double
double string_to_double (string) -> double
double uint64_to_double (uint) -> double
duration duration_to_duration (duration) -> duration
duration int64_to_duration (int) -> duration
duration string_to_duration (string) -> duration
int double_to_int64 (double) -> int
int duration_to_int64 (duration) -> int
int int64_to_int64 (int) -> int
int string_to_int64 (string) -> int
int timestamp_to_int64 (timestamp) -> int
int uint64_to_int64 (uint) -> int
string bool_to_string (bool) -> string
string bytes_to_string (bytes) -> string
string double_to_string (double) -> string
string duration_to_string (duration) -> string
string int64_to_string (int) -> string
string string_to_string (string) -> string
string timestamp_to_string (timestamp) -> string
string uint64_to_string (uint) -> string
string quantity_to_string (kubernetes.Quantity) -> string
string ip_to_string (net.IP) -> string
string cidr_to_string (net.CIDR) -> string
timestamp int64_to_timestamp (int) -> timestamp
timestamp string_to_timestamp (string) -> timestamp
timestamp timestamp_to_timestamp (timestamp) -> timestamp
uint double_to_uint64 (double) -> uint
uint int64_to_uint64 (int) -> uint
uint string_to_uint64 (string) -> uint
uint uint64_to_uint64 (uint) -> uint
getHours duration_to_hours duration.() -> int
getMinutes duration_to_minutes duration.() -> int
getSeconds duration_to_seconds duration.() -> int
getMilliseconds duration_to_milliseconds duration.() -> int
optional.of optional_of (T) -> optional_type(T)
optional.ofNonZeroValue optional_ofNonZeroValue (T) -> optional_type(T)
optional.none optional_none () -> optional_type(T)
value optional_value optional_type(T).() -> T
hasValue optional_hasValue optional_type(T).() -> bool
or optional_or_optional optional_type(T).(optional_type(T)) -> optional_type(T)
orValue optional_orValue_value optional_type(T).(T) -> T
cel.@mapInsert cel_@mapInsert_map_key_value (map(K, V), K, V) -> map(K, V)
cel.@mapInsert cel_@mapInsert_map_map (map(K, V), map(K, V)) -> map(K, V)
"""

_TEXT = """
charAt string_char_at_int string.(int) -> string
indexOf string_index_of_string string.(string) -> int
indexOf string_index_of_string_int string.(string, int) -> int
lastIndexOf string_last_index_of_string string.(string) -> int
lastIndexOf string_last_index_of_string_int string.(string, int) -> int
lowerAscii string_lower_ascii string.() -> string
upperAscii string_upper_ascii string.() -> string
replace string_replace_string_string string.(string, string) -> string
replace string_replace_string_string_int string.(string, string, int) -> string
split string_split_string string.(string) -> list(string)
split string_split_string_int string.(string, int) -> list(string)
substring string_substring_int string.(int) -> string
substring string_substring_int_int string.(int, int) -> string
trim string_trim string.() -> string
format string_format string.(list(dyn)) -> string
strings.quote strings_quote (string) -> string
join list_join list(string).() -> string
join list_join_string list(string).(string) -> string
find string_find_string string.(string) -> string
findAll string_find_all_string string.(string) -> list(string)
findAll string_find_all_string_int string.(string, int) -> list(string)
url string_to_url (string) -> kubernetes.URL
isURL is_url_string (string) -> bool
getScheme url_get_scheme kubernetes.URL.() -> string
getHost url_get_host kubernetes.URL.() -> string
getHostname url_get_hostname kubernetes.URL.() -> string
getPort url_get_port kubernetes.URL.() -> string
getEscapedPath url_get_escaped_path kubernetes.URL.() -> string
getQuery url_get_query kubernetes.URL.() -> map(string, list(string))
format.named format-named (string) -> optional_type(kubernetes.NamedFormat)
validate format-validate kubernetes.NamedFormat.(string) -> optional_type(list(string))
jsonpatch.escapeKey string_jsonpatch_escapeKey_string (string) -> string
"""

_NUMBERS = """
quantity string_to_quantity (string) -> kubernetes.Quantity
isQuantity is_quantity_string (string) -> bool
sign quantity_sign kubernetes.Quantity.() -> int
isGreaterThan quantity_is_greater_than kubernetes.Quantity.(kubernetes.Quantity) -> bool
isLessThan quantity_is_less_than kubernetes.Quantity.(kubernetes.Quantity) -> bool
compareTo quantity_compare_to kubernetes.Quantity.(kubernetes.Quantity) -> int
asApproximateFloat quantity_get_float kubernetes.Quantity.() -> double
asInteger quantity_get_int kubernetes.Quantity.() -> int
isInteger quantity_is_integer kubernetes.Quantity.() -> bool
add quantity_add kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity
add quantity_add_int kubernetes.Quantity.(int) -> kubernetes.Quantity
sub quantity_sub kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity
sub quantity_sub_int kubernetes.Quantity.(int) -> kubernetes.Quantity
semver string_to_semver (string) -> kubernetes.Semver
semver string_bool_to_semver (string, bool) -> kubernetes.Semver
isSemver is_semver_string (string) -> bool
isSemver is_semver_string_bool (string, bool) -> bool
isGreaterThan semver_is_greater_than kubernetes.Semver.(kubernetes.Semver) -> bool
isLessThan semver_is_less_than kubernetes.Semver.(kubernetes.Semver) -> bool
compareTo semver_compare_to kubernetes.Semver.(kubernetes.Semver) -> int
major semver_major kubernetes.Semver.() -> int
minor semver_minor kubernetes.Semver.() -> int
patch semver_patch kubernetes.Semver.() -> int
ip string_to_ip (string) -> net.IP
isIP is_ip (string) -> bool
ip.isCanonical ip_is_canonical (string) -> bool
family ip_family net.IP.() -> int
isUnspecified ip_is_unspecified net.IP.() -> bool
isLoopback ip_is_loopback net.IP.() -> bool
isLinkLocalMulticast ip_is_link_local_multicast net.IP.() -> bool
isLinkLocalUnicast ip_is_link_local_unicast net.IP.() -> bool
isGlobalUnicast ip_is_global_unicast net.IP.() -> bool
cidr string_to_cidr (string) -> net.CIDR
isCIDR is_cidr (string) -> bool
containsIP cidr_contains_ip_string net.CIDR.(string) -> bool
containsIP cidr_contains_ip_ip net.CIDR.(net.IP) -> bool
containsCIDR cidr_contains_cidr_string net.CIDR.(string) -> bool
containsCIDR cidr_contains_cidr net.CIDR.(net.CIDR) -> bool
ip cidr_ip net.CIDR.() -> net.IP
prefixLength cidr_prefix_length net.CIDR.() -> int
masked cidr_masked net.CIDR.() -> net.CIDR
"""

_LISTS = """
indexOf list_a_index_of_int list(T).(T) -> int
lastIndexOf list_a_last_index_of_int list(T).(T) -> int
includes list_includes_dyn_dyn dyn.(dyn) -> bool
distinct list_distinct list(T).() -> list(T)
flatten list_flatten list(list(T)).() -> list(T)
flatten list_flatten_int list(dyn).(int) -> list(dyn)
reverse list_reverse list(T).() -> list(T)
slice list_slice list(T).(int, int) -> list(T)
lists.range lists_range (int) -> list(int)
first list_first list(T).() -> optional_type(T)
last list_last list(T).() -> optional_type(T)
sets.contains list_sets_contains_list (list(T), list(T)) -> bool
sets.equivalent list_sets_equivalent_list (list(T), list(T)) -> bool
sets.intersects list_sets_intersects_list (list(T), list(T)) -> bool
"""

_AUTHORIZER = """
path authorizer_path kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.PathCheck
group authorizer_group kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.GroupCheck
serviceAccount authorizer_serviceaccount kubernetes.authorization.Authorizer.(string, string) -> kubernetes.authorization.Authorizer
resource groupcheck_resource kubernetes.authorization.GroupCheck.(string) -> kubernetes.authorization.ResourceCheck
subresource resourcecheck_subresource kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
namespace resourcecheck_namespace kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
name resourcecheck_name kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
fieldSelector authorizer_fieldselector kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
labelSelector authorizer_labelselector kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
check pathcheck_check kubernetes.authorization.PathCheck.(string) -> kubernetes.authorization.Decision
check resourcecheck_check kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.Decision
errored decision_errored kubernetes.authorization.Decision.() -> bool
error decision_error kubernetes.authorization.Decision.() -> string
allowed decision_allowed kubernetes.authorization.Decision.() -> bool
reason decision_reason kubernetes.authorization.Decision.() -> string
"""  # noqa: E501

_ORDERED = ("bool", "int64", "uint64", "double", "string", "bytes", "timestamp", "duration")
_ORDER = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
_NAMES = {"int64": "int", "uint64": "uint"}
_SUMMED = ("int", "uint", "double", "duration")
_COMPARED = (*_SUMMED, "bool", "timestamp", "string", "bytes")
_CALENDAR = {
    "getFullYear": "year", "getMonth": "month", "getDayOfYear": "day_of_year", "getDayOfMonth": "day_of_month",
    "getDate": "day_of_month_1_based", "getDayOfWeek": "day_of_week", "getHours": "hours", "getMinutes": "minutes",
    "getSeconds": "seconds", "getMilliseconds": "milliseconds",
}  # fmt: skip
FORMATS = (
    "dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix",
    "dns1123SubdomainPrefix", "dns1035LabelPrefix", "labelValue", "uri", "uuid", "byte", "date", "datetime",
)  # fmt: skip


def _generated() -> list[str]:
    found: list[str] = []
    for function, word in _ORDER.items():
        for name in _ORDERED:
            plain = _NAMES.get(name, name)
            found.append(f"{function} {word}_{name} ({plain}, {plain}) -> bool")
        for a, b in (("int64", "double"), ("int64", "uint64"), ("uint64", "double")):
            one, two = _NAMES.get(a, a), _NAMES.get(b, b)
            found.append(f"{function} {word}_{a}_{b} ({one}, {two}) -> bool")
            found.append(f"{function} {word}_{b}_{a} ({two}, {one}) -> bool")
    for name in _SUMMED:
        found.append(f"sum list_{name}_sum_{name} list({name}).() -> {name}")
    for name in _COMPARED:
        found.append(f"isSorted list_{name}_is_sorted_bool list({name}).() -> bool")
        found.append(f"max list_{name}_max_{name} list({name}).() -> {name}")
        found.append(f"min list_{name}_min_{name} list({name}).() -> {name}")
    for name in ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"):
        found.append(f"sort list_{name}_sort list({name}).() -> list({name})")
        by = f"@sortByAssociatedKeys list_{name}_sortByAssociatedKeys"
        found.append(f"{by} list(T).(list({name})) -> list(T)")
    for function, word in _CALENDAR.items():
        found.append(f"{function} timestamp_to_{word} timestamp.() -> int")
        found.append(f"{function} timestamp_to_{word}_with_tz timestamp.(string) -> int")
    found += [f"format.{name} format.{name} () -> kubernetes.NamedFormat" for name in FORMATS]
    return found


@cache
def overloads() -> dict[str, tuple[Overload, ...]]:
    """Every function's overloads, by the function's name."""
    found: dict[str, dict[str, Overload]] = {}
    texts = (_STANDARD, _TEXT, _NUMBERS, _LISTS, _AUTHORIZER)
    for line in [*(ln for t in texts for ln in t.strip().splitlines()), *_generated()]:
        function, id_, signature = line.split(" ", 2)
        found.setdefault(function, {})[id_] = _overload(id_, signature)
    return {function: tuple(listed.values()) for function, listed in found.items()}


def _overload(id_: str, signature: str) -> Overload:
    given, _, result = signature.partition(" -> ")
    member = not given.startswith("(")
    target, arguments = "", given[1:-1]
    if member:
        target, _, arguments = given[:-1].rpartition(".(")
    args = [types.parse(a) for a in types.split(arguments)]
    return Overload(id_, member, tuple([types.parse(target), *args] if member else args), types.parse(result))
