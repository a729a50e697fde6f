package v1

// Condition types. All but DeletionsHeld are good when True; DeletionsHeld is bad when True.
const (
	// ConditionAvailable (Source, Location): the folder is there and is the one it was.
	ConditionAvailable = "Available"
	// ConditionScanned (Source): the latest scan read the whole tree; what it could not read is in status.problems.
	ConditionScanned = "Scanned"
	// ConditionProtected (Source): every file has at least minReplicas confirmed current replicas, and as many hosts have the listing
	// of the source.
	ConditionProtected = "Protected"
	// ConditionVerified (Source): every replica was read again within its verify interval, and none is corrupt.
	ConditionVerified = "Verified"
	// ConditionDeletionsHeld (Source): a mass deletion was seen and waits for `cbctl approve`.
	ConditionDeletionsHeld = "DeletionsHeld"
	// ConditionPlaceable (Source): the desired replicas fit on the hosts that there are.
	ConditionPlaceable = "Placeable"
	// ConditionWithinCapacity (Location): what lies there is within capacity and reserve.
	ConditionWithinCapacity = "WithinCapacity"
	// ConditionDrained (Location): the location was to be emptied and holds no replica any more.
	ConditionDrained = "Drained"
	// ConditionReady (Host): heard of within hostTimeout. (Cluster): every host is.
	ConditionReady = "Ready"
)

// GoodWhenTrue is a condition's polarity: whether True is how it should be.
func GoodWhenTrue(conditionType string) bool { return conditionType != ConditionDeletionsHeld }
