"""What stands in front of every model where a type has several attributes, or codes: one learned matrix of them.

A new kind of attribute is a file here, and a line in `type_encoder.make_part`.
"""

from heteroshards.trainer.models.encoders.type_encoder import AttributeEncoders, Values

__all__ = ["AttributeEncoders", "Values"]
