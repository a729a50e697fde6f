package v1

import (
	"fmt"
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate checks one object by itself, as it was written (before Default) or after. Each error names the field, what is wrong
// with it and what would be right. It never modifies obj.
func Validate(obj Object) field.ErrorList {
	errs := validateMeta(obj)
	spec := field.NewPath("spec")
	switch o := obj.(type) {
	case *Source:
		errs = append(errs, validateSource(spec, &o.Spec)...)
	case *Location:
		errs = append(errs, validateLocation(spec, &o.Spec)...)
	case *Host:
		errs = append(errs, validateHost(spec, &o.Spec)...)
	case *Cluster:
		errs = append(errs, validateCluster(spec, &o.Spec)...)
	default:
		errs = append(errs, field.Forbidden(field.NewPath("kind"), "is observed state: it can be read, not written"))
	}
	return errs
}

func validateMeta(obj Object) field.ErrorList {
	meta := field.NewPath("metadata")
	var errs field.ErrorList
	switch name := obj.GetName(); {
	case name == "":
		errs = append(errs, field.Required(meta.Child("name"), "every resource has a name"))
	case KindOf(obj) == KindCluster && name != ClusterName:
		errs = append(errs, field.Invalid(meta.Child("name"), name, `there is one Cluster, and its name is "cluster"`))
	default:
		errs = append(errs, validateLabelName(meta.Child("name"), name)...)
	}
	return append(errs, metavalidation.ValidateLabels(obj.GetLabels(), meta.Child("labels"))...)
}

// ValidateName checks a name of any kind: a DNS label.
func ValidateName(name string) error {
	if errs := validateLabelName(field.NewPath("name"), name); len(errs) > 0 {
		return fmt.Errorf("%q is not a name: %s", name, errs[0].Detail)
	}
	return nil
}

func validateLabelName(at *field.Path, name string) field.ErrorList {
	if len(validation.IsDNS1123Label(name)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, name,
		`use lower-case letters, digits and "-" inside, at most 63 characters ("photos-2024")`)}
}

func validateHostName(at *field.Path, name HostName) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "name the host whose disk it is on (see `cbctl get hosts`)")}
	}
	return validateLabelName(at, string(name))
}

// validatePath wants an absolute path without dots; a slash at the end is forgiven.
func validatePath(at *field.Path, p string) field.ErrorList {
	clean := path.Clean(p)
	switch {
	case p == "":
		return field.ErrorList{field.Required(at, "an absolute path")}
	case p[0] != '/':
		return field.ErrorList{field.Invalid(at, p, "is relative: write the whole path, beginning with /")}
	case strings.ContainsAny(p, "\x00\n"):
		return field.ErrorList{field.Invalid(at, p, "has a NUL byte or a newline")}
	case p != clean && p != clean+"/":
		return field.ErrorList{field.Invalid(at, p, fmt.Sprintf("write it without %q, %q and double slashes: %s", ".", "..", clean))}
	}
	return nil
}

func validateSource(at *field.Path, s *SourceSpec) field.ErrorList {
	errs := validateHostName(at.Child("host"), s.Host)
	errs = append(errs, validatePath(at.Child("path"), s.Path)...)
	errs = append(errs, validateReplicas(at.Child("minReplicas"), s.MinReplicas)...)
	errs = append(errs, validateReplicas(at.Child("maxReplicas"), s.MaxReplicas)...)
	if s.MinReplicas > 0 && s.MaxReplicas > 0 && s.MaxReplicas < s.MinReplicas {
		errs = append(errs, field.Invalid(at.Child("maxReplicas"), s.MaxReplicas,
			fmt.Sprintf("is less than minReplicas (%d): leave it out for the same number", s.MinReplicas)))
	}
	if s.Spread != "" && s.Spread != SpreadHost {
		for _, why := range validation.IsQualifiedName(s.Spread) {
			errs = append(errs, field.Invalid(at.Child("spread"), s.Spread, `is neither "host" nor a label key: `+why))
		}
	}
	errs = append(errs, validateExclude(at.Child("exclude"), s.Exclude)...)
	errs = append(errs, validateInterval(at.Child("scanInterval"), s.ScanInterval)...)
	errs = append(errs, validateRetention(at.Child("retention"), s.Retention)...)
	return append(errs, validateVerify(at.Child("verify"), s.Verify)...)
}

func validateReplicas(at *field.Path, n int32) field.ErrorList {
	switch {
	case n < 0:
		return field.ErrorList{field.Invalid(at, n, "must be at least 1; leave it out for the default")}
	case n > maxReplicas:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("must be at most %d", maxReplicas))}
	}
	return nil
}

func validateExclude(at *field.Path, rules []string) field.ErrorList {
	var errs field.ErrorList
	for i, rule := range rules {
		switch {
		case strings.Trim(rule, " !/") == "":
			errs = append(errs, field.Invalid(at.Index(i), rule, "is an empty rule"))
		case strings.ContainsAny(rule, "\x00\n"):
			errs = append(errs, field.Invalid(at.Index(i), rule, "has a newline or a NUL byte: write one rule an entry"))
		}
	}
	return errs
}

func validateRetention(at *field.Path, r *Retention) field.ErrorList {
	if r == nil {
		return nil
	}
	errs := validateNotNegative(at.Child("deleted"), r.Deleted)
	errs = append(errs, validateNotNegative(at.Child("versions"), r.Versions)...)
	if r.MaxVersions != nil && *r.MaxVersions < 0 {
		errs = append(errs, field.Invalid(at.Child("maxVersions"), *r.MaxVersions, "must not be negative; 0 sets no bound (versions: 0s keeps none)"))
	}
	return errs
}

func validateVerify(at *field.Path, v *VerifyPolicy) field.ErrorList {
	if v == nil {
		return nil
	}
	errs := validateNotNegative(at.Child("interval"), v.Interval)
	return append(errs, validateBytes(at.Child("sampleAbove"), v.SampleAbove, 0)...)
}

func validateLocation(at *field.Path, s *LocationSpec) field.ErrorList {
	errs := validateHostName(at.Child("host"), s.Host)
	errs = append(errs, validatePath(at.Child("path"), s.Path)...)
	if path.Clean(s.Path) == "/" {
		errs = append(errs, field.Invalid(at.Child("path"), s.Path, "give it a folder of its own, such as /srv/backup"))
	}
	if s.Capacity == nil && s.Reserve == nil {
		errs = append(errs, field.Required(at.Child("capacity"),
			"say how much room there is: capacity (at most this many bytes here, 700Gi), reserve (always leave this much of the file system free, 50Gi), or both"))
	}
	errs = append(errs, validateBytes(at.Child("capacity"), s.Capacity, 1)...)
	return append(errs, validateBytes(at.Child("reserve"), s.Reserve, 0)...)
}

func validateHost(at *field.Path, s *HostSpec) field.ErrorList {
	errs := ValidateAddress(at.Child("address"), s.Address)
	if s.Limits == nil {
		return errs
	}
	limits := at.Child("limits")
	errs = append(errs, validateBytes(limits.Child("upload"), s.Limits.Upload, 1)...)
	errs = append(errs, validateBytes(limits.Child("download"), s.Limits.Download, 1)...)
	errs = append(errs, validateBytes(limits.Child("read"), s.Limits.Read, 1)...)
	for i, window := range s.Limits.Windows {
		if !windowPattern.MatchString(window) {
			errs = append(errs, field.Invalid(limits.Child("windows").Index(i), window, `is no time of day: write "22:00-06:00"`))
		}
	}
	return errs
}

var windowPattern = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$`)

// ValidateAddress checks an address at which others reach a host: HOST:PORT.
func ValidateAddress(at *field.Path, address string) field.ErrorList {
	if address == "" {
		return field.ErrorList{field.Required(at, `where others reach the host: "rpi1.lan:7420"`)}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return field.ErrorList{field.Invalid(at, address, `is not HOST:PORT ("rpi1.lan:7420", "[fd00::1]:7420")`)}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return field.ErrorList{field.Invalid(at, address, "the port must be a number from 1 to 65535")}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return field.ErrorList{field.Invalid(at, address, "others cannot reach the host there: name it or give its own IP address")}
	}
	return nil
}

func validateCluster(at *field.Path, s *ClusterSpec) field.ErrorList {
	errs := validateReplicas(at.Child("minReplicas"), s.MinReplicas)
	errs = append(errs, validateInterval(at.Child("pollInterval"), s.PollInterval)...)
	errs = append(errs, validateInterval(at.Child("repairAfter"), s.RepairAfter)...)
	return append(errs, validateInterval(at.Child("hostTimeout"), s.HostTimeout)...)
}

func validateInterval(at *field.Path, d *metav1.Duration) field.ErrorList {
	if d == nil || d.Duration >= MinInterval {
		return nil
	}
	return field.ErrorList{field.Invalid(at, d.Duration.String(), fmt.Sprintf("must be at least %v", MinInterval))}
}

func validateNotNegative(at *field.Path, d *metav1.Duration) field.ErrorList {
	if d == nil || d.Duration >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, d.Duration.String(), "must not be negative")}
}

// validateBytes wants a whole number of bytes, at least least.
func validateBytes(at *field.Path, q *resource.Quantity, least int64) field.ErrorList {
	if q == nil {
		return nil
	}
	bytes, exact := q.AsInt64()
	switch {
	case q.Sign() < 0:
		return field.ErrorList{field.Invalid(at, q.String(), "must not be negative")}
	case !exact:
		return field.ErrorList{field.Invalid(at, q.String(), "is not a whole number of bytes below 2^63 (700Gi, 50G, 1048576)")}
	case bytes < least:
		return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("must be at least %d", least))}
	}
	return nil
}
