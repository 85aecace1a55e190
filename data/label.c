#include "data/label.h"

#include <string.h>

const char *const data_expression[DATA_EXPRESSIONS] = {"Neutral",   "Anger",   "Disgust",  "Fear",
                                                       "Happiness", "Sadness", "Surprise", "Other"};
const char *const data_attribute[DATA_ATTRIBUTES] = {"5_o_Clock_Shadow",
                                                     "Arched_Eyebrows",
                                                     "Attractive",
                                                     "Bags_Under_Eyes",
                                                     "Bald",
                                                     "Bangs",
                                                     "Big_Lips",
                                                     "Big_Nose",
                                                     "Black_Hair",
                                                     "Blond_Hair",
                                                     "Blurry",
                                                     "Brown_Hair",
                                                     "Bushy_Eyebrows",
                                                     "Chubby",
                                                     "Double_Chin",
                                                     "Eyeglasses",
                                                     "Goatee",
                                                     "Gray_Hair",
                                                     "Heavy_Makeup",
                                                     "High_Cheekbones",
                                                     "Male",
                                                     "Mouth_Slightly_Open",
                                                     "Mustache",
                                                     "Narrow_Eyes",
                                                     "No_Beard",
                                                     "Oval_Face",
                                                     "Pale_Skin",
                                                     "Pointy_Nose",
                                                     "Receding_Hairline",
                                                     "Rosy_Cheeks",
                                                     "Sideburns",
                                                     "Smiling",
                                                     "Straight_Hair",
                                                     "Wavy_Hair",
                                                     "Wearing_Earrings",
                                                     "Wearing_Hat",
                                                     "Wearing_Lipstick",
                                                     "Wearing_Necklace",
                                                     "Wearing_Necktie",
                                                     "Young"};
const char *const data_au[DATA_AUS] = {"AU1",  "AU2",  "AU4",  "AU6",  "AU7",  "AU10",
                                       "AU12", "AU15", "AU23", "AU24", "AU25", "AU26"};
static const char *const split_name[] = {[DATA_SPLIT_NONE] = "none",
                                         [DATA_SPLIT_TRAIN] = "train",
                                         [DATA_SPLIT_VALIDATION] = "validation",
                                         [DATA_SPLIT_TEST] = "test"};
enum { SPLITS = sizeof(split_name) / sizeof(split_name[0]) };

const char *data_split_name(int split)
{
    return split >= 0 && split < SPLITS ? split_name[split] : split_name[DATA_SPLIT_NONE];
}

int data_split_number(const char *name)
{
    for (int i = 0; i < SPLITS; i++)
        if (strcmp(name, split_name[i]) == 0) return i;
    return -1;
}
