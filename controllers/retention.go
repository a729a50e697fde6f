package controllers

import v1 "clusterbackup/api/v1"

// RetentionIn is the retention of a source by name, as it is desired now.
func RetentionIn(d Desired, name v1.SourceName) v1.Retention {
	return RetentionOf(sourceNamed(d, name))
}

// RetentionOf is a source's retention with nothing left open; of a source that is gone (nil), the default one.
func RetentionOf(source *v1.Source) v1.Retention {
	if source == nil {
		source = &v1.Source{}
	} else {
		source = source.DeepCopy()
	}
	v1.Default(source, nil)
	return *source.Spec.Retention
}
