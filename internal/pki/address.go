package pki

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strconv"

	v1 "clusterbackup/api/v1"
)

// DefaultListen is where a daemon listens unless told otherwise, DefaultPort its port.
const (
	DefaultPort   = "7420"
	DefaultListen = ":" + DefaultPort
)

// describe completes what is known of a host. Local is this host's end of a connection to the cluster, if there is one.
func describe(name v1.HostName, listen, advertise string, local net.Addr) (Cluster, error) {
	listen = cmp.Or(listen, DefaultListen)
	host, port, err := splitAddress(listen)
	if err != nil {
		return Cluster{}, fmt.Errorf("listen address: %w", err)
	}
	if advertise == "" {
		advertise = net.JoinHostPort(reachableHost(host, local), port)
	}
	ahost, aport, err := splitAddress(advertise)
	if err == nil && (ahost == "" || isUnspecified(ahost) || aport == "0") {
		err = fmt.Errorf("%w: %q: others cannot connect to it", ErrAddress, advertise)
	}
	if err != nil {
		return Cluster{}, fmt.Errorf("advertised address: %w; say where other hosts reach this one with --advertise HOST:PORT", err)
	}
	return Cluster{Format: stateFormat, Host: name, Listen: listen, Advertise: advertise}, nil
}

func splitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("%w: %q: want HOST:PORT", ErrAddress, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", fmt.Errorf("%w: %q: port is no number from 0 to 65535", ErrAddress, address)
	}
	return host, port, nil
}

// reachableHost is where others most likely reach a host that listens on listenHost.
func reachableHost(listenHost string, local net.Addr) string {
	if listenHost != "" && !isUnspecified(listenHost) {
		return listenHost
	}
	if local != nil {
		if host, _, err := net.SplitHostPort(local.String()); err == nil {
			return host
		}
	}
	if ip := ownAddress(); ip != nil {
		return ip.String()
	}
	name, _ := os.Hostname()
	return name
}

func isUnspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}

// ownAddress is an address of this host in its network, an IPv4 one if it has any.
func ownAddress() net.IP {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var found net.IP
	for _, a := range addresses {
		network, ok := a.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		if network.IP.To4() != nil {
			return network.IP
		}
		if found == nil {
			found = network.IP
		}
	}
	return found
}
