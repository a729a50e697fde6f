package controllers

import v1 "clusterbackup/api/v1"

// Desired is what is wanted, with defaults filled in. What it returns belongs to the caller.
type Desired interface {
	Sources() []*v1.Source
	Locations() []*v1.Location
	Hosts() []*v1.Host
	Cluster() *v1.Cluster
}

func sourceNamed(d Desired, name v1.SourceName) *v1.Source {
	for _, s := range d.Sources() {
		if s.Name == string(name) {
			return s
		}
	}
	return nil
}

func locationNamed(d Desired, name v1.LocationName) *v1.Location {
	for _, l := range d.Locations() {
		if l.Name == string(name) {
			return l
		}
	}
	return nil
}

func hostNamed(d Desired, name v1.HostName) *v1.Host {
	for _, h := range d.Hosts() {
		if h.Name == string(name) {
			return h
		}
	}
	return nil
}
